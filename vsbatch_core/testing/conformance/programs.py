"""The steps that were taken against a server, and the shortest program of those that a broken law needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import fill, indent

from attrs import field, frozen

from vsbatch_core.testing.conformance.tracing import VARIABLE

POLLS, POLL_SECONDS = 600, 0.1
"""How often a program polls at most, and how long it sleeps between: it never hangs."""


@frozen
class Step:
    """Something that was done, as code; ``writes`` if what follows may depend on it unseen.

    ``scene`` is what it belongs to: a program that needs one step of a scene needs all those that write.
    """

    number: int
    scene: int
    code: str
    writes: bool
    defines: frozenset[str] = field(factory=frozenset)

    @property
    def uses(self) -> set[str]:
        """The variables that it reads."""
        return variables(self.code) - self.defines


def variables(code: str) -> set[str]:
    """The variables in a piece of code."""
    return {match[0] for match in VARIABLE.finditer(code)}


def needed(steps: list[Step], scene: int, last: str) -> list[Step]:
    """The steps of a scene that its last lines depend on, and those of other scenes that these depend on."""
    wanted = variables(last)
    scenes = {scene}
    while True:
        found = [step for step in steps if (step.writes and step.scene in scenes) or step.defines & wanted]
        # Scene 0 is what all others share, such as uploads: of it only that which is named is needed.
        now_scenes = scenes | {step.scene for step in found if step.scene}
        now_wanted = wanted.union(*(step.uses for step in found))
        if (now_scenes, now_wanted) == (scenes, wanted):
            return found
        scenes, wanted = now_scenes, now_wanted


def program(base_url: str, sentence: str, message: str, steps: list[Step], scene: int, last: str) -> str:
    """A program that needs nothing but ``openai``, and fails where the law is broken.

    The API key is not in it: it reads ``OPENAI_API_KEY``.
    """
    body = [step.code for step in needed(steps, scene, last)]
    if last:
        body.append(last)
    text = renamed("\n".join(body))
    modules = [name for name in ("os", "time") if name == "os" or f"{name}." in text]
    return "\n".join(
        (
            *_comment(f"Law: {sentence}"),
            *_comment(f"Broken: {message}"),
            *(f"import {name}" for name in modules),
            "",
            "import openai",
            "",
            "client = openai.OpenAI(",
            f"    base_url={json.dumps(base_url)},",
            '    api_key=os.environ.get("OPENAI_API_KEY", "none-needed"),',
            "    max_retries=0,",
            ")",
            text,
            "",
        )
    )


def _comment(text: str) -> Iterator[str]:
    # What a server said may be in it: nothing of that may end the comment, or move a terminal's cursor.
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
    yield from fill(text, 100, initial_indent="# ", subsequent_indent="# ").split("\n")


def renamed(code: str) -> str:
    """The code with its variables numbered in the order in which they come: ``batch``, ``batch_2``, …."""
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    for match in VARIABLE.finditer(code):
        if match[0] not in names:
            word = match[1]
            counts[word] = counts.get(word, 0) + 1
            names[match[0]] = word if counts[word] == 1 else f"{word}_{counts[word]}"
    return VARIABLE.sub(lambda match: names[match[0]], code)


def asserted(condition: str, message: str) -> str:
    """The line that a broken requirement ends a program with."""
    return f"assert {condition}, {json.dumps(message, ensure_ascii=False)}"


def polled(variable: str, call: str, ended: str, inside: str = "") -> str:
    """A loop that polls until it has ended, with what is required of each answer inside."""
    lines = [
        f"for _ in range({POLLS}):",
        f"    {variable} = {call}",
        *([indent(inside, "    ")] if inside else []),
        f"    if {ended}:",
        "        break",
        f"    time.sleep({POLL_SECONDS})",
    ]
    return "\n".join(lines)

"""Help texts: each command has one, with an example, and it fits its terminal."""

from __future__ import annotations

import re

import pytest

from vsbatch_core.cli import COMMANDS, main, parser
from vsbatch_core.cli.help import WIDTH


def help_of(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*argv, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("argv", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_a_help_text_is_no_wider_than_the_terminal_nor_than_80_columns(
    argv: tuple[str, ...],
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = help_of(capsys, *argv)
    # One word that is longer than the line, as a URL or a list of choices, is not broken.
    wide = [line for line in text.splitlines() if len(line) > min(columns, WIDTH) and " " in line.strip()]
    assert wide == []


@pytest.mark.parametrize("argv", [(), *((name,) for name in COMMANDS)], ids=" ".join)
def test_a_help_text_has_an_example_that_the_command_takes(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    examples = re.findall(r"^  vsbatch (.+)$", help_of(capsys, *argv), re.MULTILINE)
    assert examples
    for example in examples:
        parser().parse_args(example.partition(" > ")[0].split())


def test_the_help_of_the_command_names_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys)
    for name, line in COMMANDS.items():
        assert re.search(rf"^ +{name} +{re.escape(line)}$", text, re.MULTILINE)


def test_paragraphs_are_wrapped_and_the_entries_of_lists_keep_their_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = help_of(capsys, "serve")
    assert "  immediate        every file completes at once\n" in text
    entry = text[text.index("  after-polls:N") :].splitlines()
    assert entry[0].startswith("  after-polls:N    the files of a batch")
    assert entry[1].startswith(" " * 19)
    assert entry[1][19] != " "

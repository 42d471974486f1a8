"""What a scenario says of a stand-in: its seed, its plan, its profile, and the faults that clients meet.

It is read from TOML, and a plan from JSON as well.  A mistake is told with the file, the key as a dotted path,
and what was expected.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import attrs

from vsbatch_core.adapters.faults import NO_FAULTS, Faults
from vsbatch_core.model import Profile, policies
from vsbatch_core.scenarios.files import ingested
from vsbatch_core.scenarios.tables import MISSING, Table
from vsbatch_core.scenarios.text import Refused, legible, nearest
from vsbatch_core.simulation import (
    Completed,
    Constant,
    Empirical,
    Exponential,
    Failed,
    Lognormal,
    Never,
    PerMegabyte,
    Plan,
    Retries,
    Uniform,
)

KEYS = ("title", "seed", "until", "stores", "batches", "plan", "profile", "faults", "acts", "client")
"""What a scenario may have at its top."""

DURATIONS: dict[str, Callable[..., Any]] = {
    "constant": Constant,
    "empirical": Empirical,
    "exponential": Exponential,
    "lognormal": Lognormal,
    "per_megabyte": PerMegabyte,
    "uniform": Uniform,
}
OUTCOMES: dict[str, Callable[..., Any]] = {"completed": Completed, "failed": Failed, "never": Never}
PLAN = ("failures", "by_suffix", "by_id", "workers", "order", "cancel", "polls", "by_hand")
"""What a plan takes as it stands in TOML."""


@attrs.frozen(kw_only=True)
class Circumstances:
    """What a stand-in takes from a scenario."""

    title: str
    seed: int = 0
    plan: Plan = attrs.field(factory=Plan)
    faults: Faults = NO_FAULTS
    profile: Profile = attrs.field(factory=Profile)


def shipped() -> dict[str, str]:
    """The scenarios that come with the package: by name, in order, what is in their files."""
    folder = resources.files("vsbatch_core") / "scenarios"
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".toml")), key=lambda item: item.name)
    return {item.name.removesuffix(".toml"): item.read_text(encoding="utf-8") for item in files}


def found(name: str) -> tuple[str, str, Path]:
    """The name, text and directory of a scenario's file, or of one that is shipped.  Raise ``Refused``."""
    known = shipped()
    if name in known:
        return f"{name}.toml", known[name], Path()
    try:
        text = Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Refused(
            f"cannot read '{legible(name)}': a scenario is written in UTF-8, and this file is not: save it so"
        ) from None
    except (FileNotFoundError, ValueError):  # ValueError: a null character, which no path has
        raise unknown(name, "neither a file nor a shipped scenario") from None
    except IsADirectoryError:
        raise unknown(name, "a directory") from None
    except OSError as error:
        raise Refused(f"cannot read '{legible(name)}': {error.strerror}. Give a file that can be read") from None
    return name, text, Path(name).parent


def unknown(name: str, what: str) -> Refused:
    """Return the refusal of a name that is not a scenario, but ``what``; the nearest name is suggested."""
    names = list(shipped())
    return Refused(
        f"'{legible(name)}' is {what}: give the path of a TOML file, or one of {', '.join(names)} (--list "
        f"describes them){nearest(name, names)}"
    )


def root_of(file: str, text: str) -> Table:
    """The table that a scenario is, of whose keys none is unknown.  Raise ``Refused``."""
    try:
        root = Table(file, "", tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{legible(file)}: expected TOML: {legible(str(error))}") from None
    root.require_known(KEYS)
    return root


def load(name: str) -> Circumstances:
    """What a stand-in takes from a scenario: the path of a file, or the name of one that is shipped.

    What is left is for ``vsbatch simulate`` alone, and may be missing: stores, batches, acts, the client and when
    to stop.  Raise ``Refused``.
    """
    file, text, _ = found(name)
    return take(root_of(file, text), Path(file).stem)


def take(root: Table, title: str) -> Circumstances:
    """What a stand-in takes from the table of a scenario.  Raise ``Refused``."""
    title = root.text("title", title)
    seed = root.whole("seed", 0, least=0)
    policed = root.table("profile")
    policed.require_known(policies())  # a profile's limits are not for a scenario to change
    profile = made(policed, Profile)
    plan = plan_of(root.table("plan"), profile)
    return Circumstances(
        title=title, seed=seed, profile=profile, plan=plan, faults=made(root.table("faults"), Faults)
    )


def made(table: Table, cls: Any) -> Any:
    """A value of a class whose own checks say what is expected, key by key."""
    given = table.rest_for(cls)
    for name, value in given.items():
        table.made(name, cls, **{name: value})
    return table.made("", cls, **given)


def plan_of(table: Table, profile: Profile) -> Plan:
    """The plan that a table says.  Raise ``Refused``."""
    given: dict[str, Any] = {}
    like = table.word("like", ("ingest",), None)
    if like is not None:
        given["decide"] = ingested
    for key in PLAN:
        value = table.take(key, MISSING)
        if value is not MISSING:
            given[key] = value
            table.made(key, Plan, **{key: value})
    service = table.take("service", MISSING)
    if service is not MISSING:
        given["service"] = _one_of(table, "service", service, "kind", DURATIONS)
        table.made("service", Plan, service=given["service"])
    retries = table.take("retries", MISSING)
    if retries is not MISSING:
        given["retries"] = (
            table.made(
                "retries", Retries, **Table(table.file, f"{table.path}.retries", retries).rest_for(Retries)
            )
            if isinstance(retries, dict)
            else retries
        )
        table.made("retries", Plan, retries=given["retries"])
    script = table.table("script").rest()
    if script:
        given["script"] = {id: _outcomes(table, f"script.{id}", value) for id, value in script.items()}
    table.end()
    plan: Plan = table.made("", Plan, **given)
    if plan.cancel not in (None, profile.cancel):
        table.wrong("cancel", f"'{profile.cancel}', as profile.cancel says", plan.cancel)
    return plan


def _outcomes(table: Table, key: str, value: Any) -> Any:
    if isinstance(value, list):
        if not value:
            table.wrong(key, "what becomes of the file, at each try", value)
        return [_one_of(table, f"{key}[{i}]", item, "end", OUTCOMES) for i, item in enumerate(value)]
    return _one_of(table, key, value, "end", OUTCOMES)


def _one_of(table: Table, key: str, value: Any, which: str, makers: dict[str, Callable[..., Any]]) -> Any:
    if which == "kind" and not isinstance(value, dict):
        return value
    made = Table(table.file, f"{table.path}.{key}", value)
    make = makers[made.word(which, makers)]
    return made.made("", make, **made.rest_for(make))

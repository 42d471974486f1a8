"""The faults and the scenario that ``vsbatch serve`` is given."""

from __future__ import annotations

import argparse
import math
import re
from typing import Any

from attrs import evolve

from vsbatch_core.adapters.faults import NO_FAULTS, SOURCES, During, Faults
from vsbatch_core.cli import values
from vsbatch_core.scenarios import circumstances
from vsbatch_core.scenarios.circumstances import Circumstances
from vsbatch_core.scenarios.text import legible

_FAULT = re.compile(r"(?P<name>\w+)(=(?P<chance>[^@]*))?(@(?P<since>[^@]*?)(\.\.(?P<until>[^@]*))?)?")

FAULTS = "\n".join(f"  {name:<16} {what}" for name, (what, _) in SOURCES.items())


def add_faults_to(made: argparse.ArgumentParser) -> None:
    """Add what goes wrong to a subcommand's arguments."""
    made.add_argument(
        "--fault",
        metavar="NAME[=P][@FROM[..UNTIL]]",
        type=_fault,
        action="append",
        default=[],
        help="a fault that clients meet, always or with a probability, for ever or between two times in seconds "
        "since the start; may be given for each; see below",
    )
    made.add_argument(
        "--scenario",
        metavar="FILE",
        help="take plan, profile, faults and seed from a scenario: a TOML file, or one of those that 'vsbatch "
        "simulate --list' prints",
    )


def _fault(value: str) -> tuple[str, Any]:
    found = _FAULT.fullmatch(value)
    name = value if found is None else found["name"]
    if found is None or name not in SOURCES:
        raise argparse.ArgumentTypeError(f"'{legible(name)}' is no fault: those are {', '.join(SOURCES)}")
    chance = 1.0 if found["chance"] is None else values.number(found["chance"])
    since = 0.0 if found["since"] is None else values.number(found["since"])
    until = values.number(found["until"]) if found["until"] else math.inf
    if not (0 <= chance <= 1 and 0 <= since < until):
        raise argparse.ArgumentTypeError(
            f"'{legible(value)}': give a probability from 0 to 1, and times of which the first is earlier, as "
            f"{name}=0.1@60..120"
        )
    when = True if found["chance"] is None else chance
    return name, when if found["since"] is None else During(when, since, until)


def scenario(arguments: argparse.Namespace) -> Circumstances | None:
    """What the scenario says that was given, if one was.  Raise ``Refused``."""
    return None if arguments.scenario is None else circumstances.load(arguments.scenario)


def faults(arguments: argparse.Namespace, given: Circumstances | None) -> Faults:
    """The faults of the scenario, and those of the command line in place of them."""
    return evolve(NO_FAULTS if given is None else given.faults, **dict(arguments.fault))

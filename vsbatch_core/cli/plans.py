"""What becomes of files where processing is simulated: the plans of ``vsbatch serve`` and ``vsbatch worker``."""

from __future__ import annotations

import argparse
import math
from typing import Any

from vsbatch_core import VectorStoreFile
from vsbatch_core.adapters.refusals import UploadNotFound
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.cli import values
from vsbatch_core.model import ERROR_CODES
from vsbatch_core.scenarios.files import OVERHEAD, Found, outcome
from vsbatch_core.scenarios.text import Refused, legible
from vsbatch_core.simulation import Completed, Outcome, Plan

WORKERS = 8

LEASE = 10.0
"""Seconds for which a process claims files; it renews its claims three times in that time."""

PLANS = f"""\
  files            as with 'vsbatch ingest': what was uploaded completes or
                   fails by its suffix and its size, and takes longer the
                   larger it is; ids that were never uploaded complete after
                   {OVERHEAD:g} s (the default)
  immediate        every file completes at once
  after-seconds:S  every file completes S seconds after a worker took it"""
"""Those that workers follow."""


def add_plan_to(made: argparse.ArgumentParser) -> None:
    """Add what becomes of files to a subcommand's arguments."""
    made.add_argument(
        "--plan", metavar="PLAN", type=_plan, default="files", help="what becomes of files; see below"
    )
    made.add_argument(
        "--fail",
        metavar="CODE=P",
        type=_failure,
        action="append",
        default=[],
        help=f"the probability that a file fails with {', '.join(ERROR_CODES[:-1])} or {ERROR_CODES[-1]}; may be "
        "given for each, with any plan but 'files'",
    )
    made.add_argument(
        "--workers",
        metavar="N",
        type=values.at_least_1,
        help=f"how many files are processed at a time (default: {WORKERS} with 'files', else all)",
    )


def _failure(value: str) -> tuple[str, float]:
    code, _, number = value.partition("=")
    if code not in ERROR_CODES:
        codes = ", ".join(ERROR_CODES)
        raise argparse.ArgumentTypeError(f"'{legible(code)}' is no error code of the API: those are {codes}")
    probability = values.number(number)
    if not 0 <= probability <= 1:
        raise argparse.ArgumentTypeError(f"'{legible(value)}': give a probability from 0 to 1, as {code}=0.1")
    return code, probability


def _plan(value: str) -> tuple[str, float]:
    name, colon, given = value.partition(":")
    number = values.number(given)
    valued = {
        "after-seconds": 0 <= number < math.inf,
        "after-polls": 1 <= number < math.inf and number == int(number),
    }
    if name not in TAKES or not valued.get(name, not colon):
        known = ", ".join(name for name in TAKES if name not in valued)
        raise argparse.ArgumentTypeError(
            f"'{legible(value)}' is no plan: give {known}, after-seconds:S or after-polls:N"
        )
    return name, number


TAKES: dict[str, tuple[str, ...]] = {
    "files": ("workers",),
    "immediate": ("fail",),
    "after-seconds": ("workers", "fail"),
    "after-polls": ("fail",),
    "manual": (),
}
"""By plan, the options that say more of it."""


def plan(arguments: argparse.Namespace, uploads: Uploads) -> Plan:
    """What becomes of files.  Raise ``Refused`` if an option says nothing of this plan."""
    name, number = arguments.plan or ("files", math.nan)
    more: dict[str, Any] = {"workers": arguments.workers, "fail": dict(arguments.fail)}
    for option, value in more.items():
        if value and option not in TAKES[name]:
            raise Refused(f"--{option} says nothing of --plan {name}: leave one of them out")
    failures = more["fail"]
    if sum(failures.values()) > 1:
        raise Refused(f"--fail: the probabilities sum to {sum(failures.values()):g}: give at most 1 together")
    if name == "files":
        return Plan(workers=arguments.workers or WORKERS, decide=lambda file: ingested(file, uploads))
    if name == "immediate":
        return Plan.immediate(failures=failures)
    if name == "after-seconds":
        return Plan.after_seconds(number, workers=arguments.workers, failures=failures)
    if name == "after-polls":
        return Plan.after_polls(int(number), failures=failures)
    return Plan.manual()


def ingested(file: VectorStoreFile, uploads: Uploads) -> Outcome:
    """What becomes of a file with the plan ``files``: as ``vsbatch ingest`` says, if it was uploaded."""
    try:
        uploaded = uploads.retrieve(file.id)
    except UploadNotFound:
        return Completed(after=OVERHEAD)
    return outcome(Found(uploaded.filename, uploaded.bytes))

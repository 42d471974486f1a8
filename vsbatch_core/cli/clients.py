"""What ``vsbatch serve`` lets other clients do: pages of a browser, and those that send what others know."""

from __future__ import annotations

import argparse
from typing import Any

from vsbatch_core.adapters.http import ORIGIN
from vsbatch_core.scenarios.text import legible


def add_to(made: argparse.ArgumentParser) -> None:
    """Add the options to the arguments of a subcommand."""
    made.add_argument(
        "--lenient",
        action="store_true",
        help="ignore parameters that are not known, as those of other servers' extensions (default: refuse them)",
    )
    made.add_argument(
        "--cors",
        metavar="ORIGIN",
        type=_origin,
        action="append",
        help="let pages of this origin use the server from a browser, as http://localhost:5173; may be given "
        "more than once; 'none' for no page at all (default: any page)",
    )


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the arguments say of an ``Api``."""
    found: dict[str, Any] = {"lenient": arguments.lenient}
    if arguments.cors is not None:
        found["cors"] = tuple(origin for origin in arguments.cors if origin != "none")
    return found


def _origin(value: str) -> str:
    if value != "none" and not ORIGIN.fullmatch(value):
        raise argparse.ArgumentTypeError(
            f"'{legible(value)}' is no origin: give scheme, host and port, as http://localhost:5173, or 'none'"
        )
    return value

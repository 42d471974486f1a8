"""What commands that are pointed at a server share: its URL, the key, and that others' servers are left alone."""

from __future__ import annotations

import argparse
import os
from ipaddress import ip_address
from urllib.parse import urlsplit

from vsbatch_core.cli import values
from vsbatch_core.scenarios.text import Refused, legible

KEY_VARIABLE = "VSBATCH_API_KEY"
TIMEOUT = 30.0
"""Seconds that one request may take by default."""

HINT = "Start a server there ('vsbatch serve' is one), or give another --base-url or --api-key"
"""What to do where no server answers, or not as this API does."""


def add_to(made: argparse.ArgumentParser) -> None:
    """Add the server and the key to a subcommand's arguments."""
    made.add_argument(
        "--base-url", metavar="URL", type=url, required=True, help="the server, as http://127.0.0.1:8000/v1"
    )
    made.add_argument(
        "--api-key",
        metavar="KEY",
        type=values.api_key,
        help="the key to send (default: none that means anything)",
    )


def url(value: str) -> str:
    """A URL of http or https, as an argument."""
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:  # a port that is no number, or an address that is none
        known = False
    if not known or not value.isprintable():
        raise argparse.ArgumentTypeError(f"'{legible(value)}' is not a URL: give one as http://127.0.0.1:8000/v1")
    return value


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine, by its name alone."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def require_ours(arguments: argparse.Namespace) -> bool:
    """Whether the server is on this machine.  Raise ``Refused`` if it is not, and nobody said yes to that."""
    loopback = is_loopback(arguments.base_url)
    if not loopback and not arguments.yes_remote:
        raise Refused(
            f"{arguments.base_url} is not on this machine: stores there may cost money. "
            "Give --yes-remote to make them"
        )
    return loopback


def key(arguments: argparse.Namespace) -> str:
    """Return the key to send.  Raise ``Refused`` if the one in the environment cannot be sent."""
    return arguments.api_key or key_of_environment() or "none-needed"


def key_of_environment(variable: str = KEY_VARIABLE) -> str | None:
    """Return the key that the environment gives, if it does.  Raise ``Refused`` if it cannot be sent."""
    found = os.environ.get(variable)
    try:
        return values.api_key(found) if found else None
    except argparse.ArgumentTypeError as error:
        raise Refused(f"{variable}: {error}") from None

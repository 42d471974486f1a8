"""What commands that are pointed at a server share: its URL, the key, and that others' servers are left alone."""

from __future__ import annotations

import argparse
import math
import os
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from vsbatch_core.cli.text import Refused, legible

KEY_VARIABLE = "VSBATCH_API_KEY"
TIMEOUT = 30.0
"""Seconds that one request may take, unless told otherwise."""


def add_to(made: argparse.ArgumentParser) -> None:
    """Add the server and the key to a subcommand's arguments."""
    made.add_argument(
        "--base-url", metavar="URL", type=url, required=True, help="the server, as http://127.0.0.1:8000/v1"
    )
    made.add_argument("--api-key", metavar="KEY", help="the key to send (default: none that means anything)")


def url(value: str) -> str:
    """A URL of http or https, as an argument."""
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:  # a port that is no number, or an address that is none
        known = False
    if not known or not value.isprintable():
        raise argparse.ArgumentTypeError(f"'{legible(value)}' is no URL: give one as http://127.0.0.1:8000/v1")
    return value


def seconds(value: str) -> float:
    """A number of seconds above 0, as an argument."""
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"'{legible(value)}' is no number of seconds above 0")
    return found


def at_least_1(value: str) -> int:
    """A whole number from 1, as an argument."""
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"'{legible(value)}' is not a whole number from 1")
    return int(value)


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
    """The key to send.  Raise ``Refused`` if it is none that can be sent."""
    found: str = arguments.api_key or os.environ.get(KEY_VARIABLE) or "none-needed"
    if not all("!" <= c <= "~" for c in found):
        raise Refused("a key has one or more printable ASCII characters and no space")
    return found


def write(path: str, data: bytes) -> None:
    """Write a file.  Raise ``Refused`` if that cannot be."""
    try:
        Path(path).write_bytes(data)
    except (OSError, ValueError) as error:  # ValueError: a null character, which no path has
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refused(f"cannot write '{legible(path)}': {reason}") from None

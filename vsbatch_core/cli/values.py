"""The values of arguments: each is read and checked here, and a wrong one refused with what to give."""

from __future__ import annotations

import argparse
import math

from vsbatch_core.scenarios.text import legible


def number(value: str) -> float:
    """Return the number, or NaN where it is none."""
    try:
        return float(value)
    except ValueError:
        return math.nan


def seconds(value: str) -> float:
    """Return a number of seconds above 0."""
    found = number(value)
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"'{legible(value)}' is not a number of seconds above 0")
    return found


def whole(value: str) -> int:
    """Return a whole number."""
    try:
        return int(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{legible(value)}' is not a whole number") from None


def at_least_1(value: str) -> int:
    """Return a whole number from 1."""
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"'{legible(value)}' is not a whole number from 1")
    return int(value)


def api_key(value: str) -> str:
    """Return a key that can be sent in a header.  The message does not repeat a wrong one: it may be a secret."""
    if not value or not all("!" <= c <= "~" for c in value):
        raise argparse.ArgumentTypeError("a key has one or more printable ASCII characters and no space")
    return value

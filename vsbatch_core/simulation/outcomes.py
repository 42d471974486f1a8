"""What can become of a file: it is completed, it fails, or nothing is ever heard of it again."""

from __future__ import annotations

import sys
from typing import Any

from attrs import field, frozen

from vsbatch_core.errors import shown
from vsbatch_core.model import ERROR_CODES, ErrorCode


def number(what: str, value: Any) -> float:
    """A number, not a boolean; raise ``TypeError``, naming ``what``."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{what} takes a number of seconds, not {shown(value)}.")
    return value


def seconds(what: str, value: Any, advice: str) -> float:
    """A finite number of 0 or more; raise ``TypeError`` or ``ValueError``, naming ``what``."""
    if not 0 <= number(what, value) <= sys.float_info.max:
        raise ValueError(f"{what.replace('…', shown(value))}: {advice} Give seconds: finite, 0 or more.")
    return float(value)


def _after(outcome: object, _attribute: object, value: Any) -> None:
    # Plans of the user's make an outcome for each file: what to say of a wrong one is put together only then.
    if value is not None and not (type(value) is float and 0.0 <= value <= sys.float_info.max):
        seconds(f"{type(outcome).__name__}(after=…)", value, "a file cannot be done before it is picked up.")


def _bytes(outcome: object, _attribute: object, value: Any) -> None:
    name = type(outcome).__name__
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}(usage_bytes=…) takes a whole number of bytes, not {shown(value)}.")
    if value < 0:
        raise ValueError(f"{name}(usage_bytes={shown(value)}): a file takes up 0 bytes or more.")


def _code(outcome: object, _attribute: object, value: Any) -> None:
    if value not in ERROR_CODES:
        codes = ", ".join(f"'{code}'" for code in ERROR_CODES)
        raise ValueError(f"{type(outcome).__name__}({shown(value)}): the API's error codes are {codes}.")


def _text(outcome: object, _attribute: object, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{type(outcome).__name__}(message=…) takes a sentence or None, not {shown(value)}.")


def _flag(outcome: object, attribute: Any, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{type(outcome).__name__}({attribute.name}=…) is True or False, not {shown(value)}.")


@frozen
class Completed:
    """The file is processed: ``after`` seconds of a worker's time, and then takes up ``usage_bytes``.

    Without ``after`` it takes as long as the plan's ``service`` says.  Without ``usage_bytes`` it is the plan's
    ``size`` of the file if it has one, else the size that the engine's ``file_size`` answers, or 0.
    """

    after: float | None = field(default=None, kw_only=True, validator=_after)
    usage_bytes: int | None = field(default=None, kw_only=True, validator=_bytes)


@frozen
class Failed:
    """The file cannot be processed, which takes a worker ``after`` seconds to find out.

    Without ``after`` it takes as long as the plan's ``service`` says.  Without ``message`` it is what the API
    says with this ``code`` (recorded).
    """

    code: ErrorCode = field(validator=_code)
    after: float | None = field(default=None, kw_only=True, validator=_after)
    message: str | None = field(default=None, kw_only=True, validator=_text)


@frozen
class Never:
    """The file stays ``in_progress`` for ever (recorded: batches stuck for ever).

    Its worker forgets it and goes on; with ``holds_worker=True`` it hangs with it, until the file is cancelled,
    deleted, attached again or finished by somebody else.
    """

    holds_worker: bool = field(default=False, kw_only=True, validator=_flag)

    after = None


Outcome = Completed | Failed | Never

"""Calls that an exception cuts short at a line of one module, for laws about what a second call completes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any


class CutShort(BaseException):
    """What ends a call in the middle."""


def cut_short(act: Callable[[], object], module: ModuleType, line: int) -> bool:
    """Call ``act`` and raise before its ``line``-th line in the module, from 1; return whether it came so far."""
    file, passed, before = module.__file__, 0, sys.gettrace()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal passed
        if frame.f_code.co_filename != file:
            return None
        if event == "line":
            passed += 1
            if passed == line:
                raise CutShort
        return trace

    try:
        sys.settrace(trace)
        act()
    except CutShort:
        return True
    finally:
        sys.settrace(before)
    return False

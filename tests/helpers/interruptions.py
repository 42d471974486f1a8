"""Exceptions that arrive anywhere in a call: at every place where CPython can raise one, and as failing
allocations.

A signal's exception is raised at the entry of a function, after a call has returned, and at a backward jump.
A call itself, and whatever allocates, can fail before it has done anything.  ``Injector`` raises at each of
these places, one after the other, in the code of the package."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import vsbatch_core
from vsbatch_core import Engine

PACKAGE = str(Path(vsbatch_core.__file__).parent)
CORE = {str(path) for path in Path(PACKAGE).glob("*.py") if path.name not in ("__init__.py", "__main__.py")}
_ALLOCATES = (
    *("BUILD_", "LIST_", "DICT_", "SET_", "MAP_", "BINARY_", "STORE_SUBSCR", "STORE_SLICE", "STORE_ATTR"),
    *("DELETE_SUBSCR", "FORMAT_", "UNPACK_", "GET_ITER", "FOR_ITER"),
)


class Injected(BaseException):
    """What is raised in the middle of a call."""


@cache
def places(code: CodeType) -> frozenset[int]:
    """Return the offsets of a function's instructions before which an exception can be raised."""
    found = set()
    after_call = False
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name == "CACHE":
            continue
        call = name.startswith(("CALL", "PRECALL"))
        jump = name.startswith("JUMP_BACKWARD")
        if after_call or call or jump or name == "RESUME" or name.startswith(_ALLOCATES):
            found.add(instruction.offset)
        after_call = call
    return frozenset(found)


class Injector:
    """Raises ``Injected`` at one place of a call; counts the places that were passed."""

    def __init__(self, at: int | None = None, error: Callable[[], BaseException] = Injected) -> None:
        self.at = at
        self.error = error
        self.passed = 0

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename not in CORE:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in places(frame.f_code):
            self.passed += 1
            if self.passed == self.at:
                sys.settrace(None)
                raise self.error()
        return self._trace

    def run(self, act: Callable[[], object]) -> BaseException | None:
        """Run ``act``; return what it raised."""
        before = sys.gettrace()
        try:
            sys.settrace(self._trace)
            act()
        except BaseException as error:  # noqa: BLE001 - it is what the test asks for
            return error
        finally:
            sys.settrace(before)
        return None


# CPython 3.12 traces single instructions only from the second call of ``settrace`` after the first request.
Injector().run(Engine)


def count(act: Callable[[], object]) -> int:
    """Return how many places a call passes."""
    injector = Injector()
    injector.run(act)
    return injector.passed

"""Several processes that do the same: they are started, started again if they are killed, and ended together."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from struct import iter_unpack, pack
from typing import NoReturn

from vsbatch_core.scenarios.text import Refused, say

SIGNALS = (signal.SIGINT, signal.SIGTERM)

PAUSE = 0.5
"""Seconds until a process is replaced that ended before it was ready."""

Serve = Callable[[int, Callable[[], None], int], None]
"""What each process does: called with its number, what to call when it is ready, and a pipe.

The pipe ends, for whoever reads it, when the parent process has ended, however that did.
"""


class Processes:
    """The processes of a parent, which does nothing but look after them.  They need a system with ``fork``."""

    def __init__(self, n: int, serve: Serve) -> None:
        self._n = n
        self._serve = serve
        self._children: dict[int, int] = {}
        """By process id, the number of a process."""
        self._ready: set[int] = set()
        """The process ids of those that are ready, or were."""
        self._begun = False
        """Whether all of them have been ready."""
        self._stopping = False

    def run(self, ready: Callable[[], None]) -> None:
        """Start the processes, call ``ready`` when all of them are, and return when all of them have ended.

        SIGINT and SIGTERM are sent on to them.  One that ends otherwise is replaced.  If one ends with an error
        before all have been ready, it has said why, and all end: raise ``SystemExit`` with its status.
        """
        self._lifeline, lifeline = os.pipe()
        heard, self._voice = os.pipe()
        os.set_blocking(heard, False)
        self._parents = (lifeline, heard)
        before = {number: signal.signal(number, self._stop) for number in SIGNALS}
        try:
            for number in range(self._n):
                self._start(number)
            while self._children and not (self._stopping or len(self._ready) >= self._n):
                select.select([heard], [], [], 0.05)
                self._look_after(os.WNOHANG)
            if not self._stopping:
                self._begun = True
                ready()
            while self._children:
                self._look_after(0)
        finally:
            self._stop(signal.SIGTERM, None)
            while self._children:
                self._look_after(0)
            for number, handler in before.items():
                signal.signal(number, handler)
            for descriptor in (self._lifeline, self._voice, *self._parents):
                os.close(descriptor)

    def _stop(self, number: int, _frame: object) -> None:
        self._stopping = True
        for child in self._children:
            os.kill(child, number)

    def _start(self, number: int) -> None:
        """Start the process of this number, unless all are to end."""
        # A signal that came between the fork and the note of the child would not be sent on.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            if not self._stopping:
                child = os.fork()
                if child == 0:
                    self._be(number)
                self._children[child] = number
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _be(self, number: int) -> NoReturn:
        """Be the process of this number, and end."""
        status = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C is for the parent, which sends it on
            for descriptor in self._parents:
                os.close(descriptor)
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._serve(number, self._say_ready, self._lifeline)
            status = 0
        except Refused as refused:
            say(sys.stderr, f"vsbatch: {refused}")
            status = 2
        except BaseException:  # noqa: BLE001 - a child process has nobody to raise it to
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _say_ready(self) -> None:
        os.write(self._voice, pack("=i", os.getpid()))

    def _look_after(self, flags: int) -> None:
        """Wait for a process to end, unless ``flags`` say not to, and start another in its place."""
        child, status = os.waitpid(-1, flags)
        self._hear()
        if child == 0:
            return
        number = self._children.pop(child)
        code = os.waitstatus_to_exitcode(status)
        if self._stopping:
            return
        if code > 0 and not self._begun:
            raise SystemExit(code)
        how = f"with status {code}" if code >= 0 else f"by signal {-code}"
        say(sys.stderr, f"vsbatch: warning: process {child} ended {how}, and another is started")
        if child not in self._ready:
            time.sleep(PAUSE)  # what kept it from starting may keep the next one from it too
        self._start(number)

    def _hear(self) -> None:
        """Note which processes have said that they are ready."""
        try:
            said = os.read(self._parents[1], 1 << 12)
        except BlockingIOError:
            return
        self._ready.update(child for (child,) in iter_unpack("=i", said))

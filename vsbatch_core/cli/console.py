"""A line on the console for each request, written so that nothing can make the server wait for whoever reads."""

from __future__ import annotations

import os
from collections import deque
from threading import Event, Thread
from typing import TextIO

from vsbatch_core.scenarios.text import legible, plural
from vsbatch_core.standin.requests import Exchange

MOST = 10_000
"""Lines that wait to be written; more are left out, and counted."""

LONGEST = 300
"""Characters of a path or a message that are printed."""

PATIENCE = 1.0
"""Seconds that the last lines have to be written when the server ends."""


def line(exchange: Exchange) -> str:
    r"""Return what is printed of a request; control characters are visible in it.

    >>> line(Exchange(number=1, at=0.0, method="GET", path="/v1/files", status=200, milliseconds=1.234))
    'GET /v1/files 200 1.2 ms'
    >>> refusal = Exchange(number=2, at=0.0, method="GET", path="/x", status=404, message="No such\n URL.")
    >>> print(line(refusal))
    GET /x 404 0.0 ms: No such\n URL.
    """
    path = exchange.path + (f"?{exchange.query}" if exchange.query else "")
    status = "no response" if exchange.status is None else exchange.status
    faults = f" [{', '.join(exchange.faults)}]" if exchange.faults else ""
    message = "" if exchange.message is None else f": {_short(exchange.message)}"
    return f"{_short(exchange.method)} {_short(path)} {status} {exchange.milliseconds:.1f} ms{faults}{message}"


def _short(text: str) -> str:
    return legible(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


def console_of(stream: TextIO | None) -> Console | None:
    """Return what writes lines to where a stream does, or ``None`` if that is no file."""
    try:
        return None if stream is None else Console(stream.fileno(), stream.encoding or "utf-8")
    except OSError:
        return None


class Console:
    """Writes lines to a file descriptor, in a thread of its own.

    A pipe whose reader has stopped reading, or a terminal that is held, would else stop the server as soon as
    the pipe is full.  Where the reader is gone, nothing more is written.
    """

    def __init__(self, descriptor: int, encoding: str = "utf-8") -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._waiting: deque[Exchange] = deque()
        self._left_out = 0
        self._wake = Event()
        self._ended = False
        # A daemon: the process ends though a write still waits for a reader.
        self._thread = Thread(target=self._write, name="vsbatch console", daemon=True)
        self._thread.start()

    def observe(self, exchange: Exchange) -> None:
        """Have the line of a request written soon.  Never waits."""
        if len(self._waiting) < MOST:
            self._waiting.append(exchange)
        else:
            self._left_out += 1
        self._wake.set()

    def close(self) -> None:
        """Write what waits, for a second at most."""
        self._ended = True
        self._wake.set()
        self._thread.join(PATIENCE)

    def _write(self) -> None:
        ended = False
        while not ended:
            self._wake.wait()
            self._wake.clear()
            ended = self._ended
            while self._waiting:
                lines = [line(self._waiting.popleft()) for _ in range(min(len(self._waiting), 100))]
                left_out, self._left_out = self._left_out, 0
                if left_out:
                    lines.append(f"… {plural(left_out, 'line')} left out: nobody read them in time")
                data = "".join(f"{each}\n" for each in lines).encode(self._encoding, "backslashreplace")
                while data:
                    try:
                        data = data[os.write(self._descriptor, data) :]
                    except OSError:
                        return  # whoever read is gone

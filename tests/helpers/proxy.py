"""A proxy between an engine and a PostgreSQL server, which does to a connection what networks do."""

from __future__ import annotations

import contextlib
import select
import socket
import tempfile
from pathlib import Path
from shutil import rmtree
from threading import Event, Thread
from typing import Self
from urllib.parse import quote, unquote, urlsplit

COMMIT = b"COMMIT\0"
"""The end of the message that commits."""

FAULTS = ("before", "after", "deaf", "late", "silent")
"""What may befall a commit, and each time the client sees the end of the connection:

``before``  it does not reach the server, whose connection is cut
``after``   it is carried out, and the answer is lost
``deaf``    the server's side is half closed behind it, and its answer is lost
``late``    the client's side is closed first, and it reaches the server a moment later
``silent``  it does not reach the server, whose connection stays open until the proxy ends
"""


class Proxy:
    """Listens on a Unix socket; a context manager.  ``url`` leads through it to the database of another URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = f"{unquote(parts.netloc.rpartition('@')[2])}/.s.PGSQL.5432"
        self._folder = tempfile.mkdtemp(prefix="vsb-proxy-", dir="/tmp")
        self.url = f"postgresql://vsbatch@{quote(self._folder, safe='')}{parts.path}"
        self.fault: str | None = None
        """What befalls the next commit."""
        self.befallen = 0
        """How many commits something has befallen."""
        self.shut = False
        """Whether new connections are refused."""
        self.go = Event()
        """Lets a late commit arrive."""
        self._ended = False
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(Path(self._folder, ".s.PGSQL.5432")))
        self._listener.listen()
        self._threads = [Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self.go.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()
        rmtree(self._folder)

    def cut(self) -> None:
        """Cut every connection that there is."""
        for each in list(self._open):
            _shut(each)

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listener.accept()
            except OSError:  # it was closed
                return
            if self.shut or self._ended:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._server)
            except OSError:  # the server is being started anew
                client.close()
                continue
            self._open += [client, server]
            thread = Thread(target=self._serve, args=(client, server), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError):
            while True:
                ready = select.select([client, server], [], [])[0]
                if client in ready:
                    data = client.recv(1 << 16)
                    fault = self.fault
                    if fault is not None and data.endswith(COMMIT):
                        self.fault = None
                        self.befallen += 1
                        self._befall(fault, data, client, server)
                        return
                    if not data:
                        return
                    server.sendall(data)
                if server in ready:
                    data = server.recv(1 << 16)
                    if not data:
                        return
                    client.sendall(data)

    def _befall(self, fault: str, data: bytes, client: socket.socket, server: socket.socket) -> None:
        if fault == "after":
            server.sendall(data)
            server.recv(1 << 16)
        elif fault == "deaf":
            server.sendall(data)
            server.shutdown(socket.SHUT_WR)
            while server.recv(1 << 16):
                pass
        elif fault == "late":
            client.shutdown(socket.SHUT_WR)
            self.go.wait()
            server.sendall(data)
            server.recv(1 << 16)
        elif fault == "silent":
            client.shutdown(socket.SHUT_WR)
            self.go.wait()


def _shut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)

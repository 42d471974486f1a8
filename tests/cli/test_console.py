"""A line for each request on the console, which nobody has to read."""

from __future__ import annotations

import io
import os
import re
from http.client import HTTPConnection
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core.cli import console
from vsbatch_core.cli.console import Console, console_of, line
from vsbatch_core.standin.requests import Exchange

from ..helpers.brief import examples
from ..helpers.processes import started


def exchange(number: int = 1, **more: Any) -> Exchange:
    return Exchange(**{"number": number, "at": 0.0, "method": "GET", "path": "/v1/files", "status": 200, **more})


@given(
    method=st.text(max_size=9),
    path=st.text(max_size=9),
    query=st.text(max_size=9),
    status=st.none() | st.integers(100, 599),
    milliseconds=st.floats(0, 1e6),
    message=st.none() | st.text(max_size=600),
    faults=st.lists(st.sampled_from(["slow", "dropped"]), max_size=2),
)
@settings(max_examples=examples(30))  # each is of seven parts
def test_a_request_is_one_line_that_no_terminal_obeys(
    message: str | None, faults: list[str], **given: Any
) -> None:
    printed = line(exchange(message=message, faults=tuple(faults), **given))
    assert printed.isprintable()
    status = "no response" if given["status"] is None else given["status"]
    assert f" {status} {given['milliseconds']:.1f} ms" in printed
    assert all(fault in printed for fault in faults)
    assert len(printed) < 10 * 1000


def read(descriptor: int) -> list[str]:
    """What was written, once the writer is done."""
    with open(descriptor, encoding="utf-8") as file:
        return file.read().splitlines()


@given(n=st.integers(0, 250))
@settings(max_examples=examples(20))
def test_every_line_is_written_in_order_before_it_ends(n: int) -> None:
    reader, writer = os.pipe()
    written = Console(writer)
    for i in range(n):
        written.observe(exchange(path=f"/{i}"))
    written.close()
    os.close(writer)
    assert read(reader) == [line(exchange(path=f"/{i}")) for i in range(n)]


def test_nobody_waits_for_a_reader_that_has_stopped_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "MOST", 100)
    monkeypatch.setattr(console, "PATIENCE", 0.01)
    reader, writer = os.pipe()
    written = Console(writer)
    for i in range(5000):
        written.observe(exchange(path=f"/{i}{'x' * 100}"))
    written.close()  # gives up
    with open(reader, encoding="utf-8") as file:
        lines: list[str] = []
        while not lines or "left out" not in lines[-1]:
            lines.append(file.readline())
        numbers = [int(found[1]) for each in lines if (found := re.match(r"GET /(\d+)x", each))]
        left_out = re.fullmatch(r"… ([\d,]+) lines? left out: nobody read them in time\n", lines[-1])
        assert left_out
        assert numbers == sorted(set(numbers))
        assert len(numbers) + int(left_out[1].replace(",", "")) <= 5000
    written._thread.join(60)
    assert not written._thread.is_alive()
    os.close(writer)


@pytest.mark.parametrize("stream", [None, io.StringIO()], ids=["none", "no file"])
def test_where_there_is_no_console_nothing_is_written(stream: Any) -> None:
    assert console_of(stream) is None


def test_where_the_reader_is_gone_nothing_more_is_written_and_nothing_raised() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    written = Console(writer)
    written.observe(exchange())
    written._thread.join(60)
    assert not written._thread.is_alive()
    for _ in range(10):
        written.observe(exchange())
    written.close()
    os.close(writer)


def test_what_the_encoding_of_the_console_lacks_is_an_escape() -> None:
    reader, writer = os.pipe()
    written = Console(writer, "ascii")
    written.observe(exchange(path="/é", message="ü"))
    written.close()
    os.close(writer)
    assert read(reader) == [r"GET /\xe9 200 0.0 ms: \xfc"]


@pytest.mark.slow
@pytest.mark.parametrize("quiet", [False, True])
def test_the_server_prints_a_line_for_each_request_unless_it_is_to_be_quiet(quiet: bool) -> None:
    with started("--seed", "1", quiet=quiet) as server:
        connection = HTTPConnection(*server.address)
        for method, path in [
            ("GET", "/v1/vector_stores?limit=2"),
            ("GET", "/v1/vector_stores/vs_%0a%1b"),
            ("GET", "/healthz"),
            ("GET", "/"),
            ("GET", "/_vsbatch/"),
            ("DELETE", "/v1/vector_stores"),
        ]:
            connection.request(method, path)
            connection.getresponse().read()
        connection.close()
        status, out, err = server.end()
    assert (status, err) == (0, "")
    expected = [
        r"GET /v1/vector_stores\?limit=2 200 \d+\.\d ms",
        r"GET /v1/vector_stores/vs_%0a%1b 404 \d+\.\d ms: No vector store found with id 'vs_\\n\\x1b'\.",
        r"DELETE /v1/vector_stores 405 \d+\.\d ms: Not allowed to DELETE on /v1/vector_stores\. .*",
    ]
    assert len(out.splitlines()) == (0 if quiet else 3)
    for printed, pattern in zip(out.splitlines(), expected, strict=False):
        assert re.fullmatch(pattern, printed)

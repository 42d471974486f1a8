"""A line for each request on the console, which nobody has to read."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core.cli import console
from vsbatch_core.cli.console import Console, line
from vsbatch_core.standin.requests import Exchange

from ..helpers.brief import examples


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
        os.set_blocking(writer, True)
        lines: list[str] = []
        while not lines or "left out" not in lines[-1]:
            lines.append(file.readline())
        numbers = [int(found[1]) for each in lines if (found := re.match(r"GET /(\d+)x", each))]
        left_out = re.fullmatch(r"… ([\d,]+) lines? left out: nobody read them in time\n", lines[-1])
        assert left_out
        assert numbers == sorted(set(numbers))
        assert len(numbers) + int(left_out[1].replace(",", "")) <= 5000
        written._thread.join(60)
    os.close(writer)


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

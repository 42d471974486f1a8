"""Text for people: lines that any terminal can take, whatever is in the names of files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO


class Refused(Exception):
    """What the user asked for cannot be done; the message is one line for them."""


def well_formed(name: str) -> str:
    r"""The name as Unicode that every JSON reader takes: a byte that was no UTF-8 is written ``\xff``.

    Python stands a lone surrogate for such a byte; strict JSON readers refuse it.

    >>> print(well_formed("caf\udce9.txt"))
    caf\xe9.txt
    """
    if name.isprintable():
        return name
    return "".join(_byte_or_surrogate(c) if "\ud800" <= c <= "\udfff" else c for c in name)


def _byte_or_surrogate(c: str) -> str:
    code = ord(c)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def legible(name: str) -> str:
    r"""The name on one line, with nothing in it that a terminal would obey.

    >>> print(legible("two\nlines\x1b[2J"))
    two\nlines\x1b[2J
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in well_formed(name))


def say(stream: TextIO, *lines: str) -> None:
    """Write lines; what the stream's encoding lacks is written as an escape."""
    encoding = stream.encoding or "utf-8"
    stream.writelines(f"{line}\n".encode(encoding, "backslashreplace").decode(encoding) for line in lines)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> list[str]:
    """Lines of columns, the first ``left`` of them aligned left, the others right."""
    cells = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]


def nearest(given: str, known: Iterable[str]) -> str:
    """Return a clause that suggests the known word that is most like the given one, or nothing if none is.

    >>> nearest("serv", ["check", "serve"]), nearest("x", ["check", "serve"])
    ("; did you mean 'serve'?", '')
    """
    from difflib import get_close_matches  # noqa: PLC0415 - seldom needed

    return "".join(f"; did you mean '{word}'?" for word in get_close_matches(given, list(known), n=1))


def plural(n: int, noun: str, nouns: str = "") -> str:
    """The number with its noun, whose plural is ``nouns``, or has an s.

    >>> plural(1, "file"), plural(12345, "file")
    ('1 file', '12,345 files')
    """
    return f"{n:,} {noun if n == 1 else nouns or noun + 's'}"

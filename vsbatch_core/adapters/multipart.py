"""Multipart forms, read by python-multipart: the extra ``http``."""

from __future__ import annotations

import re
from typing import Any

from vsbatch_core.adapters.refusals import DuplicateParameter, InvalidBody, InvalidFormField
from vsbatch_core.errors import UnknownParameter
from vsbatch_core.extras import pip_line

try:
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import File, FormParser, parse_options_header
except ImportError as error:
    raise ImportError(f"uploads need python-multipart: {pip_line('http')}") from error

_EXPIRY = {f"expires_after[{key}]": key for key in ("anchor", "seconds")}
_FIELDS = ("file", "purpose", *_EXPIRY)
_MOST_OTHERS = 100
_SECONDS = re.compile("-?[0-9]{1,640}")  # Python makes an integer of as many digits under any setting


def read_upload(content_type: str, body: bytes, *, lenient: bool = False) -> dict[str, Any]:
    """The upload in a form: ``file``, as its name and content, ``purpose`` and ``expires_after``.

    What is missing is ``None``.  If ``lenient``, up to 100 other fields are passed over.

    Raise ``InvalidBody`` if it is no complete form, ``UnknownParameter`` for another field,
    ``DuplicateParameter`` for one that is there twice, and ``InvalidFormField`` if only one of a file and a
    string will do, and it is the other.  O(size).
    """
    found: dict[str, Any] = {}
    ended: list[bool] = []
    passed_over: list[str] = []

    def keep(name: bytes | None, value: str | tuple[str, bytes]) -> None:
        field = _text(name)
        if field not in _FIELDS:
            passed_over.append(field)
            if lenient and len(passed_over) <= _MOST_OTHERS:
                return
            raise UnknownParameter(field[:256], _FIELDS)
        if field in found:
            raise DuplicateParameter(field)
        if isinstance(value, tuple) is not (field == "file"):
            raise InvalidFormField(field, file=field == "file")
        found[field] = value

    try:
        _, options = parse_options_header(content_type)
        parser = FormParser(
            "multipart/form-data",
            lambda field: keep(field.field_name, _text(field.value)),
            lambda file: keep(file.field_name, (_text(file.file_name), _content(file))),
            on_end=lambda: ended.append(True),
            boundary=options.get(b"boundary"),
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1, "UPLOAD_ERROR_ON_BAD_CTE": True},
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeError) as error:
        raise InvalidBody(f"it is no multipart form: {str(error)[:200]}") from None
    if not ended:
        raise InvalidBody("it is no multipart form: its last boundary is missing")
    expiry = {key: found[name] for name, key in _EXPIRY.items() if name in found}
    if _SECONDS.fullmatch(expiry.get("seconds", "")):
        expiry["seconds"] = int(expiry["seconds"])
    return {"file": found.get("file"), "purpose": found.get("purpose"), "expires_after": expiry or None}


def _text(value: bytes | None) -> str:
    return (value or b"").decode()


def _content(file: File) -> bytes:
    file.file_object.seek(0)
    return file.file_object.read()

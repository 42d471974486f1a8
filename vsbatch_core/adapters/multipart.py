"""Multipart forms, read by python-multipart: the extra ``http``."""

from __future__ import annotations

from typing import Any

from vsbatch_core.adapters.refusals import DuplicateParameter, InvalidBody, InvalidFormField
from vsbatch_core.errors import UnknownParameter
from vsbatch_core.extras import pip_line

try:
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import File, FormParser, parse_options_header
except ImportError as error:
    raise ImportError(f"uploads need python-multipart: {pip_line('http')}") from error

_FIELDS = ("file", "purpose")


def read_upload(content_type: str, body: bytes) -> dict[str, Any]:
    """The upload in a form: ``file``, as its name and content, and ``purpose``; ``None`` for what is missing.

    Raise ``InvalidBody`` if it is no complete form, ``UnknownParameter`` for another field,
    ``DuplicateParameter`` for one that is there twice, and ``InvalidFormField`` if only one of a file and a
    string will do, and it is the other.  O(size).
    """
    found: dict[str, Any] = {}
    ended: list[bool] = []

    def keep(name: bytes | None, value: str | tuple[str, bytes]) -> None:
        field = _text(name)
        if field not in _FIELDS:
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
    return {name: found.get(name) for name in _FIELDS}


def _text(value: bytes | None) -> str:
    return (value or b"").decode()


def _content(file: File) -> bytes:
    file.file_object.seek(0)
    return file.file_object.read()

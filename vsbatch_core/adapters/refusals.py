"""What only HTTP can get wrong: each a refusal with the API's error body, beside those of ``errors``."""

from __future__ import annotations

from collections.abc import Iterable

from vsbatch_core.errors import NotFound, RequestError, VsbatchError, shown

Headers = tuple[tuple[str, str], ...]


class InvalidApiKey(RequestError):
    """The key is missing, or not one of ours (form recorded)."""

    status = 401
    code = "invalid_api_key"
    headers: Headers = (("www-authenticate", "Bearer"),)

    def __init__(self) -> None:
        super().__init__("Incorrect API key provided. Send 'Authorization: Bearer' and a key of this server.")


class UnknownUrl(NotFound):
    """No endpoint has this path."""

    code = "unknown_url"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"Invalid URL ({_cut(method)} {_cut(path)}). See the README for what is served here.")


class NotServed(NotFound):
    """The API has this endpoint, and this server has not."""

    code = "unknown_url"

    def __init__(self, method: str, path: str) -> None:
        super().__init__(
            f"Search is not served here ({_cut(method)} {_cut(path)}): this server keeps the records of vector "
            "stores, and embeds and searches nothing. Have your test return the results that it needs."
        )


class MethodNotAllowed(RequestError):
    """The endpoint is there, but not with this method."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, path: str, allowed: Iterable[str]) -> None:
        names = ", ".join(sorted(allowed))
        super().__init__(f"Not allowed to {_cut(method)} on {_cut(path)}. Allowed are: {names}.")
        self.headers: Headers = (("allow", names),)


class BodyTooLarge(RequestError):
    """The body is longer than this server reads."""

    status = 413
    code = "body_too_large"

    def __init__(self, length: int, most: int) -> None:
        super().__init__(f"Request body too large: {length} bytes or more. Send at most {most} bytes.")


class TooManyValues(RequestError):
    """The body holds more JSON values than this server reads."""

    status = 413
    code = "body_too_large"

    def __init__(self, most: int) -> None:
        super().__init__(f"Request body too large: it holds more than {most} JSON values. Send fewer.")


class Overloaded(VsbatchError):
    """There is no room for the body of one more request."""

    status = 503
    code = "server_overloaded"
    headers: Headers = (("retry-after", "1"),)

    def __init__(self, most: int) -> None:
        super().__init__(
            f"The server has no room for this request: the bodies of those under way and of their responses have "
            f"{most} bytes at most. Try again later."
        )


class AmbiguousLength(RequestError):
    """The head says in two ways how long the body is: a proxy before this server may have read the other."""

    code = "invalid_request"
    headers: Headers = (("connection", "close"),)

    def __init__(self) -> None:
        super().__init__(
            "The request has both a Content-Length and a Transfer-Encoding header. Send one of the two."
        )


class UnsupportedMediaType(RequestError):
    """The body is of a type that the endpoint does not read."""

    status = 415
    code = "unsupported_media_type"

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"Unsupported content type {shown(found)}. Send '{expected}'.")


class InvalidBody(RequestError):
    """The body is not what its content type says."""

    code = "invalid_body"

    def __init__(self, why: str) -> None:
        super().__init__(f"We could not parse the body of your request: {why}.")


class InvalidUrl(RequestError):
    """The path or query is not UTF-8, or not of its form."""

    code = "invalid_url"

    def __init__(self, why: str) -> None:
        super().__init__(f"We could not parse the URL of your request: {why}.")


class DuplicateParameter(RequestError):
    """A parameter of the query, a field of a form or a key of a JSON object was given more than once."""

    code = "duplicate_parameter"

    def __init__(self, param: str) -> None:
        super().__init__(f"Duplicate parameter: {shown(param)}. Give it once.", param=param[:256])


class InvalidFormField(RequestError):
    """A file stands in a form where a plain field is wanted, or the other way round."""

    code = "invalid_type"

    def __init__(self, param: str, *, file: bool) -> None:
        which = "with a filename, as a file" if file else "without a filename, as a string"
        super().__init__(f"Invalid form field: '{param}'. Expected it {which}.", param=param)


class UploadNotFound(NotFound):
    """No uploaded file has this id (form recorded)."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"No such File object: {_cut(file_id)}", param="id")


class FileNotKept(NotFound):
    """A file in a vector store is not among those that were uploaded, or not any more."""

    def __init__(self, file_id: str) -> None:
        super().__init__(
            f"No content of file '{_cut(file_id)}' is kept: it was attached without an upload to this server, or "
            "the upload was deleted or has expired. Upload the file first."
        )


class NotText(RequestError):
    """A file's content is not text."""

    code = "unsupported_file"

    def __init__(self, file_id: str, place: int) -> None:
        super().__init__(
            f"The content of file '{_cut(file_id)}' is no text: byte {place} is not UTF-8. "
            f"Read it as bytes by GET /v1/files/{_cut(file_id)}/content."
        )


class UploadTooLarge(RequestError):
    """There is no room for one more file."""

    status = 413
    code = "uploads_full"

    def __init__(self, cost: int, kept: int, most: int) -> None:
        super().__init__(
            f"Cannot keep a file of {cost} bytes with its name: {kept} of at most {most} bytes are taken. Delete "
            "files first.",
            param="file",
        )


class TooManyUploads(RequestError):
    """So many files are kept that there is no room for one more."""

    status = 413
    code = "uploads_full"

    def __init__(self, most: int) -> None:
        super().__init__(f"Cannot keep more than {most} uploaded files. Delete files first.", param="file")


def _cut(text: str) -> str:
    return shown(text)[1:-1]

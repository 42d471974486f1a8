"""The subset of the Files API that ``upload_and_poll`` needs: real bytes, of a real size, in memory.

A file's id is made by the same source as all ids; ``file_size`` tells an engine which files there are.
"""

from __future__ import annotations

import builtins
from threading import Lock
from typing import Any, ClassVar, Literal

from attrs import field, frozen

from vsbatch_core import validation
from vsbatch_core.adapters.refusals import UploadNotFound, UploadTooLarge
from vsbatch_core.clock import Clock, IdSource, SystemClock, random_ids
from vsbatch_core.errors import IdTaken, MissingParameter, UnknownCursor
from vsbatch_core.listing import Listing
from vsbatch_core.model import Limits, Order, Page

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
"""What an upload may be for (documented)."""

LISTED_PURPOSES = (*PURPOSES, "assistants_output", "batch_output", "fine-tune-results")
"""What a file may be for (documented): some are for what the API itself makes, and never here."""

_LIMITS = Limits(page=10_000, page_default=10_000)
"""A list of uploaded files has up to 10,000 items, and as many if not told otherwise (documented)."""


@frozen
class FileObject:
    """An uploaded file, as the API answers it; ``content`` is not part of that."""

    object: ClassVar[Literal["file"]] = "file"
    status: ClassVar[Literal["processed"]] = "processed"
    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    content: builtins.bytes = field(eq=False, repr=False, default=b"")


@frozen
class FileDeleted:
    """The answer to the deletion of an uploaded file."""

    object: ClassVar[Literal["file"]] = "file"
    deleted: ClassVar[Literal[True]] = True
    id: str


class Uploads:
    """Uploaded files, of at most ``limit_bytes`` together.  Every method may be called from any thread.

    Give its ``file_size`` to the engine.  With ``require_uploaded_files`` an id that was never uploaded, or was
    deleted since, cannot be attached; without, any id can, and counts as a file of 0 bytes.

    >>> from vsbatch_core import Engine
    >>> uploads = Uploads(require_uploaded_files=True)
    >>> engine = Engine(file_size=uploads.file_size)
    >>> uploads.create(file=("a.txt", b"hello"), purpose="assistants").bytes
    5
    >>> engine.vector_stores.create(file_ids=["file-never-uploaded"])
    Traceback (most recent call last):
    vsbatch_core.errors.UnknownFile: No such File object: 'file-never-uploaded'. Upload it first.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        ids: IdSource = random_ids,
        limit_bytes: int = 1 << 30,
        require_uploaded_files: bool = False,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.require_uploaded_files = require_uploaded_files
        self.kept_bytes = 0
        """The sizes of all files that are kept, together."""
        self._clock = clock or SystemClock()
        self._ids = ids
        self._lock = Lock()
        self._at = 0
        """When the latest file was made; like a store's time it never goes back."""
        self._files: dict[str, FileObject] = {}
        self._listing = Listing(_LIMITS.departed)

    def file_size(self, file_id: str) -> int | None:
        """The size in bytes of a file that may be attached, or ``None``: ``Engine`` takes this hook.  O(1)."""
        file = self._files.get(file_id)
        if file is None:
            return None if self.require_uploaded_files else 0
        return file.bytes

    def create(self, *, file: tuple[str, builtins.bytes] | None, purpose: Any) -> FileObject:
        """Keep a file, given as its name and content.  O(1).

        Raise ``MissingParameter``, ``InvalidType``, ``InvalidValue``, ``UploadTooLarge``, or ``IdTaken`` if the
        id source answers what is no new id of a file; nothing is kept then.
        """
        if file is None:
            raise MissingParameter("file")
        if purpose is None:
            raise MissingParameter("purpose")
        validation.one_of("purpose", purpose, PURPOSES)
        filename, content = file
        with self._lock:
            if self.kept_bytes + len(content) > self.limit_bytes:
                raise UploadTooLarge(len(content), self.kept_bytes, self.limit_bytes)
            id: Any = self._ids("file-")
            if not isinstance(id, str) or not id.startswith("file-") or id in self._listing.numbers:
                raise IdTaken(id, "file-")
            self._at = max(int(self._clock.time()), self._at)
            new = FileObject(id, len(content), self._at, filename, purpose, content)
            self._files[id] = new
            self._listing.join(id, self._listing.next)
            self.kept_bytes += new.bytes
        return new

    def retrieve(self, file_id: str) -> FileObject:
        """The file; raise ``UploadNotFound``.  O(1)."""
        file = self._files.get(file_id)
        if file is None:
            raise UploadNotFound(file_id)
        return file

    def list(
        self, *, limit: Any = None, order: Any = None, after: Any = None, purpose: Any = None
    ) -> Page[FileObject]:
        """A page of the files, newest first unless told otherwise.  O(log n + limit); with ``purpose`` O(n)."""
        checked = (
            validation.limit(limit, _LIMITS),
            validation.order(order),
            None if purpose is None else validation.one_of("purpose", purpose, LISTED_PURPOSES),
        )
        return self._page(*checked, validation.cursor("after", after))

    def _page(self, limit: int, order: Order, purpose: str | None, after: str | None) -> Page[FileObject]:
        with self._lock:
            place = None
            if after is not None:
                place = self._listing.numbers.get(after)
                if place is None:
                    raise UnknownCursor("after", after, "uploaded files")
            if purpose is None:
                ids, more = self._listing.page(order, limit, place, None)
            else:
                low = -1 if place is None or order == "desc" else place
                high = self._listing.next if place is None or order == "asc" else place
                numbers = self._listing.numbers
                ids = [
                    id for id, file in self._files.items() if file.purpose == purpose and low < numbers[id] < high
                ]
                ids = ids[::-1] if order == "desc" else ids
                ids, more = ids[:limit], len(ids) > limit
            data = tuple([self._files[id] for id in ids])
        return Page(data, more, (self._page, limit, order, purpose))

    def delete(self, file_id: str) -> FileDeleted:
        """Forget the file and its content; where it is attached it stays so (choice).  O(log n)."""
        with self._lock:
            file = self._files.pop(file_id, None)
            if file is None:
                raise UploadNotFound(file_id)
            self.kept_bytes -= file.bytes
            self._listing.leave(file_id, self._listing.numbers[file_id], self._listing.oldest())
        return FileDeleted(file_id)


def to_wire(value: FileObject | FileDeleted) -> dict[str, Any]:
    """The exact JSON-able dict (documented)."""
    if isinstance(value, FileDeleted):
        return {"id": value.id, "object": value.object, "deleted": value.deleted}
    return {
        "id": value.id,
        "object": value.object,
        "bytes": value.bytes,
        "created_at": value.created_at,
        "expires_at": None,
        "filename": value.filename,
        "purpose": value.purpose,
        "status": value.status,
        "status_details": None,
    }

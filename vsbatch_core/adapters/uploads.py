"""The subset of the Files API that ``upload_and_poll`` needs: real bytes, of a real size.

They are kept in memory or in a database.  A file's id is made by the same source as all ids; ``file_size`` tells
an engine which files there are.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import frozen

from vsbatch_core import validation
from vsbatch_core.adapters.refusals import TooManyUploads, UploadNotFound, UploadTooLarge
from vsbatch_core.clock import Clock, IdSource, SystemClock, random_ids
from vsbatch_core.errors import IdTaken, MissingParameter, UnknownCursor
from vsbatch_core.listing import Listing
from vsbatch_core.model import Limits, Order, Page

if TYPE_CHECKING:
    from vsbatch_core.journal.log import Durability

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
"""What an upload may be for (documented)."""

LISTED_PURPOSES = (*PURPOSES, "assistants_output", "batch_output", "fine-tune-results")
"""What a file may be for (documented): some are for what the API itself makes, and never here."""

LIMITS = Limits(page=10_000, page_default=10_000)
"""A list of uploaded files has up to 10,000 items, and as many if not told otherwise (documented)."""

EXPIRES_AFTER = (3_600, 2_592_000)
"""An uploaded file may expire so many seconds after its creation, at least and at most (documented)."""


@frozen
class FileObject:
    """An uploaded file, without its content, as the API has it."""

    object: ClassVar[Literal["file"]] = "file"
    status: ClassVar[Literal["processed"]] = "processed"
    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    expires_at: int | None = None

    @property
    def cost(self) -> int:
        """The bytes that it takes of the limit: those of its content and its name."""
        return self.bytes + len(self.filename.encode("utf-8", "surrogatepass"))


@frozen
class FileDeleted:
    """The answer to the deletion of an uploaded file."""

    object: ClassVar[Literal["file"]] = "file"
    deleted: ClassVar[Literal[True]] = True
    id: str


class Uploads:
    """Uploaded files: at most ``limit_files``, and with their names at most ``limit_bytes`` together.

    Every method may be called from any thread.  A file that was uploaded with ``expires_after`` is deleted once
    the clock says so.  They are kept in memory, or by ``Uploads.open`` in a database.

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
        limit_files: int = 1_000_000,
        require_uploaded_files: bool = False,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.limit_files = limit_files
        self.require_uploaded_files = require_uploaded_files
        self._clock = clock or SystemClock()
        self._ids = ids
        self._lock = Lock()
        self._at = 0
        """When the latest file was made; like a store's time it never goes back."""
        self._kept_bytes = 0
        self._files: dict[str, FileObject] = {}
        self._contents: dict[str, builtins.bytes] = {}
        self._listing = Listing(LIMITS.departed)
        self._expiring: builtins.list[tuple[int, str]] = []
        """A heap of when which file expires, with some that are gone already."""

    @classmethod
    def open(
        cls,
        url: str,
        *,
        clock: Clock | None = None,
        ids: IdSource = random_ids,
        limit_bytes: int = 1 << 30,
        limit_files: int = 1_000_000,
        require_uploaded_files: bool = False,
        durability: Durability = "full",
    ) -> Uploads:
        """Return uploads that are kept in the database of an engine; see ``Engine.open`` for its URL.

        They have tables of their own there, which are made when they are first needed; by then ``Engine.open``
        must have made the database.  What was uploaded outlasts what a command of such an engine does, and is
        seen at once by all processes that have the database open.  The time is that of ``clock``, by default the
        machine's, or with PostgreSQL that of the database.  Every method may raise ``DatabaseUnavailable`` and
        ``DatabaseRefused``, and one that changes something ``OutcomeUnknown``.
        """
        from vsbatch_core.adapters import stored_uploads  # noqa: PLC0415 - not all programs need it

        tables, time = stored_uploads.tables_of(url, durability)
        return stored_uploads.StoredUploads(
            tables,
            clock=clock or time,
            ids=ids,
            limit_bytes=limit_bytes,
            limit_files=limit_files,
            require_uploaded_files=require_uploaded_files,
        )

    def close(self) -> None:
        """Close the database, if there is one; it opens again when it is needed."""

    @property
    def kept_bytes(self) -> int:
        """The sizes of all files that are kept and of their names, together.  O(1)."""
        self._expire()
        return self._kept_bytes

    def file_size(self, file_id: str) -> int | None:
        """Return the size in bytes of a file that may be attached, or ``None``: a hook for ``Engine``.  O(1)."""
        file = self._get(file_id)
        if file is None:
            return None if self.require_uploaded_files else 0
        return file.bytes

    def create(
        self, *, file: tuple[str, builtins.bytes] | None, purpose: Any, expires_after: Any = None
    ) -> FileObject:
        """Keep a file, given as its name and content.  O(log n).

        ``expires_after`` is ``{"anchor": "created_at", "seconds": 3600}``, up to 2,592,000 seconds (documented).

        Raise a ``RequestError`` for what cannot be kept: among them are ``UploadTooLarge`` and
        ``TooManyUploads``.  Raise ``IdTaken`` if the id source returns what is no new id of a file.  Nothing is
        kept then.
        """
        if file is None:
            raise MissingParameter("file")
        if purpose is None:
            raise MissingParameter("purpose")
        validation.one_of("purpose", purpose, PURPOSES)
        return self._keep(*file, purpose, _lifetime(expires_after))

    def _keep(self, filename: str, content: builtins.bytes, purpose: str, lifetime: int | None) -> FileObject:
        self._expire()
        with self._lock:
            new = self._new(
                filename,
                content,
                purpose,
                lifetime,
                kept=(len(self._files), self._kept_bytes),
                latest=self._at,
                taken=self._listing.numbers.__contains__,
            )
            self._at = new.created_at
            self._add(new, content)
        return new

    def put(self, file: FileObject, content: builtins.bytes) -> None:
        """Keep a file that was made elsewhere, as the newest.  O(log n).

        Raise ``UploadTooLarge``, ``TooManyUploads``, or ``IdTaken`` if one with its id was there; it is not kept
        then.
        """
        with self._lock:
            self._require_room(file.cost, len(self._files), self._kept_bytes)
            if file.id in self._listing.numbers:
                raise IdTaken(file.id, "file-")
            self._at = max(self._at, file.created_at)
            self._add(file, content)

    def _add(self, new: FileObject, content: builtins.bytes) -> None:
        self._contents[new.id] = content
        self._files[new.id] = new
        self._listing.join(new.id, self._listing.next)
        self._kept_bytes += new.cost
        if new.expires_at is not None:
            heappush(self._expiring, (new.expires_at, new.id))
            if len(self._expiring) > 2 * len(self._files):
                self._expiring = [(at, id) for at, id in self._expiring if id in self._files]
                heapify(self._expiring)

    def _require_room(self, cost: int, files: int, kept_bytes: int) -> None:
        if kept_bytes + cost > self.limit_bytes:
            raise UploadTooLarge(cost, kept_bytes, self.limit_bytes)
        if files >= self.limit_files:
            raise TooManyUploads(self.limit_files)

    def _new(
        self,
        filename: str,
        content: builtins.bytes,
        purpose: str,
        lifetime: int | None,
        *,
        kept: tuple[int, int],
        latest: int,
        taken: Callable[[str], bool],
    ) -> FileObject:
        """Return a new file, made at ``latest`` at the earliest, if there is room beside those ``kept``."""
        self._require_room(FileObject("", len(content), 0, filename, purpose).cost, *kept)
        id: Any = self._ids("file-")
        if not isinstance(id, str) or not id.startswith("file-") or taken(id):
            raise IdTaken(id, "file-")
        created_at = max(int(self._clock.time()), latest)
        expires_at = None if lifetime is None else created_at + lifetime
        return FileObject(id, len(content), created_at, filename, purpose, expires_at)

    def _expire(self) -> None:
        """Delete the files whose time has come."""
        if not self._expiring:
            return
        with self._lock:
            now = self._clock.time()
            while self._expiring and self._expiring[0][0] <= now:
                self._forget(heappop(self._expiring)[1])

    def _get(self, file_id: str) -> FileObject | None:
        self._expire()
        return self._files.get(file_id)

    def retrieve(self, file_id: str) -> FileObject:
        """Return the file; raise ``UploadNotFound``.  O(1)."""
        file = self._get(file_id)
        if file is None:
            raise UploadNotFound(file_id)
        return file

    def content(self, file_id: str) -> builtins.bytes:
        """Return the bytes of the file; raise ``UploadNotFound``.  O(1)."""
        content = self._content(file_id)
        if content is None:
            raise UploadNotFound(file_id)
        return content

    def _content(self, file_id: str) -> builtins.bytes | None:
        self._expire()
        return self._contents.get(file_id)

    def list(
        self, *, limit: Any = None, order: Any = None, after: Any = None, purpose: Any = None
    ) -> Page[FileObject]:
        """Return a page of the files, newest first by default.  O(log n + limit); with ``purpose`` O(n)."""
        checked = (
            validation.limit(limit, LIMITS),
            validation.order(order),
            None if purpose is None else validation.one_of("purpose", purpose, LISTED_PURPOSES),
        )
        return self._page(*checked, validation.cursor("after", after))

    def _page(self, limit: int, order: Order, purpose: str | None, after: str | None) -> Page[FileObject]:
        self._expire()
        with self._lock:
            place = self._place_after(after, self._listing.numbers.get)
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

    def _place_after(self, after: str | None, place_of: Callable[[str], int | None]) -> int | None:
        """Return the place of a cursor, if there is one; raise ``UnknownCursor``."""
        if after is None:
            return None
        place = place_of(after)
        if place is None:
            raise UnknownCursor("after", after, "uploaded files")
        return place

    def delete(self, file_id: str) -> FileDeleted:
        """Forget the file and its content; where it is attached it stays so (choice).  O(log n)."""
        if not self._drop(file_id):
            raise UploadNotFound(file_id)
        return FileDeleted(file_id)

    def _drop(self, file_id: str) -> bool:
        """Forget a file, if it is there; return whether it was."""
        self._expire()
        with self._lock:
            return self._forget(file_id)

    def _forget(self, file_id: str) -> bool:
        file = self._files.pop(file_id, None)
        if file is None:
            return False
        del self._contents[file_id]
        self._kept_bytes -= file.cost
        self._listing.leave(file_id, self._listing.numbers[file_id], self._listing.oldest())
        return True


def _lifetime(expires_after: Any) -> int | None:
    """Return after how many seconds a file expires, if it does."""
    if expires_after is None:
        return None
    pairs: Mapping[str, Any] = validation.mapping("expires_after", expires_after, ("anchor", "seconds"))
    anchor = validation.member("expires_after", pairs, "anchor")
    validation.one_of("expires_after.anchor", anchor, ("created_at",))
    seconds = validation.member("expires_after", pairs, "seconds")
    return validation.integer("expires_after.seconds", seconds, *EXPIRES_AFTER)


def to_wire(value: FileObject | FileDeleted) -> dict[str, Any]:
    """Return the exact JSON-able dict (documented)."""
    if isinstance(value, FileDeleted):
        return {"id": value.id, "object": value.object, "deleted": value.deleted}
    return {
        "id": value.id,
        "object": value.object,
        "bytes": value.bytes,
        "created_at": value.created_at,
        "expires_at": value.expires_at,
        "filename": value.filename,
        "purpose": value.purpose,
        "status": value.status,
        "status_details": None,
    }

"""The values that the engine takes and gives: frozen, and named as in the official SDK.

A value is a picture of one moment: it never changes, and it keeps nothing of the engine alive but a page's
way to the following page.  Times are whole seconds since the Unix epoch, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cache
from typing import (
    Any,
    ClassVar,
    Generic,
    Literal,
    NoReturn,
    Protocol,
    Self,
    TypeVar,
    cast,
    get_args,
    get_type_hints,
)

from attrs import Attribute, AttrsInstance, field, fields, frozen, make_class

__all__ = [
    "AsyncPage",
    "ExpiresAfter",
    "FileCounts",
    "FrozenDict",
    "Idempotency",
    "LastError",
    "Limits",
    "Page",
    "Profile",
    "StaticFileChunkingStrategy",
    "StaticFileChunkingStrategyObject",
    "VectorStore",
    "VectorStoreDeleted",
    "VectorStoreFile",
    "VectorStoreFileBatch",
    "VectorStoreFileDeleted",
    "omit",
]

FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]
BatchStatus = Literal["in_progress", "completed", "failed", "cancelled"]
StoreStatus = Literal["in_progress", "completed", "expired"]
ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]
Order = Literal["asc", "desc"]
BatchObject = Literal["vector_store.files_batch", "vector_store.file_batch"]
Ties = Literal["request_order", "same_both_ways", "by_id"]
Unnamed = Literal["empty", "null"]

DAY = 86_400
"""Seconds."""

FILE_STATUSES: tuple[FileStatus, ...] = get_args(FileStatus)
ERROR_CODES: tuple[ErrorCode, ...] = get_args(ErrorCode)
ORDERS: tuple[Order, ...] = get_args(Order)
MESSAGES: dict[ErrorCode, str] = {
    "server_error": "An internal error occurred.",
    "unsupported_file": "The file type is not supported.",
    "invalid_file": "The file could not be parsed.",
}
"""What the API says with each code of a ``last_error`` (recorded); used where the host gives no message."""

K = TypeVar("K")
V = TypeVar("V")


class FrozenDict(dict[K, V]):
    """A dict that refuses to change: what ``attributes`` and ``metadata`` are in a frozen value.

    It equals a dict with the same pairs, serialises as one, and can be hashed.
    """

    __slots__ = ()

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("this mapping belongs to a frozen value: make a dict of it, then change that")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenDict[K, V]], tuple[dict[K, V]]]:
        return type(self), (dict(self),)

    def __repr__(self) -> str:
        return f"FrozenDict({dict.__repr__(self)})"


Attributes = FrozenDict[str, str | int | float | bool]
Metadata = FrozenDict[str, str]
NO_ATTRIBUTES: Attributes = FrozenDict()
NO_METADATA: Metadata = FrozenDict()


class Omit:
    """The type of ``omit``: a parameter that was not given, where ``None`` means ``null``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "omit"

    def __reduce__(self) -> str:
        return "omit"  # copied and pickled as itself


omit = Omit()


@frozen(kw_only=True, slots=True, weakref_slot=False)
class FileCounts:
    """How many files stand in each status; ``total`` is the sum of the other four (documented)."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    total: int = field(init=False, repr=False)

    @total.default
    def _sum(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled


@frozen(slots=True, weakref_slot=False)
class LastError:
    """Why a file failed: a code of the API, and a sentence."""

    code: ErrorCode
    message: str


@frozen(slots=True, weakref_slot=False)
class Idempotency:
    """The key that a client gave a create, and the fingerprint of its request: 32 hexadecimal digits.

    Requests that mean the same have the same fingerprint, see ``idempotency``.
    """

    key: str
    fingerprint: str


@frozen(kw_only=True, slots=True, weakref_slot=False)
class StaticFileChunkingStrategy:
    """Chunk sizes in tokens: ``max`` 100 to 4096, ``overlap`` 0 to half of it (documented)."""

    max_chunk_size_tokens: int = 800
    chunk_overlap_tokens: int = 400


@frozen(slots=True, weakref_slot=False)
class StaticFileChunkingStrategyObject:
    """The chunking strategy as a file returns it: ``auto`` is returned as static 800/400 (documented)."""

    type: ClassVar[Literal["static"]] = "static"
    static: StaticFileChunkingStrategy = StaticFileChunkingStrategy()


AUTO = StaticFileChunkingStrategyObject()


@frozen(kw_only=True, slots=True, weakref_slot=False)
class ExpiresAfter:
    """When a store expires: ``days`` (1 to 365) after it was last active (documented)."""

    anchor: ClassVar[Literal["last_active_at"]] = "last_active_at"
    days: int


@frozen(slots=True, weakref_slot=False)
class VectorStoreFile:
    """One file in one store; the engine calls it an attachment.

    ``attachment`` is its number within the store, which ``processing`` takes; ``None`` for a value that was read
    back.  It is not part of the API: it is not on the wire, and values that differ in it alone are equal.
    """

    object: ClassVar[Literal["vector_store.file"]] = "vector_store.file"
    id: str
    created_at: int
    vector_store_id: str
    status: FileStatus = "in_progress"
    usage_bytes: int = 0
    last_error: LastError | None = None
    chunking_strategy: StaticFileChunkingStrategyObject = AUTO
    attributes: Attributes = NO_ATTRIBUTES
    attachment: int | None = field(default=None, eq=False, repr=False, kw_only=True)


def constructor(frozen_class: type[V], **derived: str) -> Callable[..., V]:
    """Return a function that makes values of a frozen class from its fields, in order, at a third of the cost.

    A frozen class has to set each field through ``object.__setattr__``, and that is most of what a value
    costs.  The function sets them on an object of an unfrozen class of the same layout, whose ``__class__``
    then becomes the frozen one.  It neither converts nor validates, and every argument has to be given by
    position.  ``derived`` gives an expression of the other fields for each field that is no argument.
    """
    attrs_class = cast("type[AttrsInstance]", frozen_class)
    names = [a.name for a in fields(attrs_class)]
    thawed = make_class(
        f"Thawed{frozen_class.__name__}",
        names,
        bases=getattr(frozen_class, "__orig_bases__", (object,)),  # a generic's layout is that of its bases
        slots=True,
        weakref_slot=False,
        eq=False,
        init=False,
        repr=False,
    )
    lines = [
        f"def new({', '.join(name for name in names if name not in derived)}):",
        "    value = Thawed()",
        *[f"    value.{name} = {derived.get(name, name)}" for name in names],
        "    value.__class__ = Frozen",
        "    return value",
    ]
    made: dict[str, Any] = {"Thawed": thawed, "Frozen": frozen_class}
    exec("\n".join(lines), made)  # noqa: S102 - all of it stands above
    return cast("Callable[..., V]", made["new"])


new_counts = constructor(FileCounts, total="in_progress + completed + failed + cancelled")
new_file = constructor(VectorStoreFile)


@frozen(kw_only=True, slots=True, weakref_slot=False)
class VectorStoreFileBatch:
    """A batch of files that were attached together."""

    id: str
    created_at: int
    vector_store_id: str
    status: BatchStatus
    file_counts: FileCounts
    object: BatchObject = "vector_store.files_batch"


@frozen(kw_only=True, slots=True, weakref_slot=False)
class VectorStore:
    """A store of files."""

    object: ClassVar[Literal["vector_store"]] = "vector_store"
    id: str
    created_at: int
    name: str | None
    description: str | None
    usage_bytes: int
    file_counts: FileCounts
    status: StoreStatus
    expires_after: ExpiresAfter | None
    expires_at: int | None
    last_active_at: int
    metadata: Metadata


@frozen(slots=True, weakref_slot=False)
class VectorStoreDeleted:
    """The response to the deletion of a store."""

    object: ClassVar[Literal["vector_store.deleted"]] = "vector_store.deleted"
    deleted: ClassVar[Literal[True]] = True
    id: str


@frozen(slots=True, weakref_slot=False)
class VectorStoreFileDeleted:
    """The response to the deletion of a file from a store; the file itself stays where it was uploaded."""

    object: ClassVar[Literal["vector_store.file.deleted"]] = "vector_store.file.deleted"
    deleted: ClassVar[Literal[True]] = True
    id: str


class Identified(Protocol):
    """What a page can hold: anything whose id can be a cursor."""

    @property
    def id(self) -> str:
        """The id, which serves as the cursor."""
        ...


T = TypeVar("T", bound=Identified)


_MOST_PRINTED = 16
"""Items of a page whose ``repr`` is code: one is some 300 characters, and an ordinary page has 20 of them."""


class _Page(Generic[T]):
    """What pages have in common: each has ``data``, ``has_more``, and a ``_request`` for the page after it."""

    __slots__ = ()

    object: ClassVar[Literal["list"]] = "list"
    data: tuple[T, ...]
    has_more: bool
    _request: Any

    @property
    def first_id(self) -> str | None:
        """The id of the first item; ``None`` on an empty page (recorded on sibling endpoints)."""
        return self.data[0].id if self.data else None

    @property
    def last_id(self) -> str | None:
        """The id of the last item; ``None`` on an empty page (recorded on sibling endpoints)."""
        return self.data[-1].id if self.data else None

    def has_next_page(self) -> bool:
        """Whether more items lie beyond this page, and the page belongs to an engine that can be asked."""
        return self.has_more and bool(self.data) and self._request is not None

    def _next(self) -> Any:
        """Return the request for the page after this one; raise ``RuntimeError`` if there is none."""
        if not self.data or self._request is None:
            raise RuntimeError("there is no next page to ask for: look at has_next_page() first")
        return self._request

    def __repr__(self) -> str:
        name, n = type(self).__name__, len(self.data)
        if n <= _MOST_PRINTED:
            return f"{name}(data={self.data!r}, has_more={self.has_more!r})"
        kind = type(self.data[0]).__name__
        return f"<{name} of {n} {kind}: {self.first_id!r} to {self.last_id!r}, has_more={self.has_more!r}>"

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[T, ...], bool]]:
        return type(self), (self.data, self.has_more)  # a copy belongs to no engine


@frozen(slots=True, weakref_slot=False, repr=False)
class Page(_Page[T]):
    """One page of a list; iterating over it goes on through all following pages, as in the SDK.

    ``has_more`` says whether more items lie beyond it, in the direction that was walked (documented).
    """

    data: tuple[T, ...]
    has_more: bool = False
    _request: tuple[Any, ...] | None = field(default=None, eq=False, repr=False)
    """What was asked: a function, and all its arguments but the last, which is ``after``."""

    def get_next_page(self) -> Page[T]:
        """The page after this one: the same request with ``after`` set to the last id.

        As in the SDK it asks whatever ``has_more`` says, and so finds what has come since.  Raise
        ``RuntimeError`` if the page is empty, or was read back or copied and belongs to no engine.
        """
        ask, *arguments = self._next()
        page: Page[T] = ask(*arguments, self.data[-1].id)
        return page

    def iter_pages(self) -> Iterator[Page[T]]:
        """Go through this page and all that follow it."""
        page = self
        while True:
            yield page
            if not page.has_next_page():
                return
            page = page.get_next_page()

    def __iter__(self) -> Iterator[T]:
        for page in self.iter_pages():
            yield from page.data


@frozen(slots=True, weakref_slot=False, repr=False)
class AsyncPage(_Page[T]):
    """One page of a list of ``engine.aio``: as ``Page``, with ``await`` and ``async for``."""

    data: tuple[T, ...]
    has_more: bool = False
    _request: Callable[[], Awaitable[AsyncPage[T]]] | None = field(default=None, eq=False, repr=False)
    """Returns the page after this one."""

    async def get_next_page(self) -> AsyncPage[T]:
        """Return the page after this one; see ``Page.get_next_page``."""
        page: AsyncPage[T] = await self._next()()
        return page

    async def iter_pages(self) -> AsyncIterator[AsyncPage[T]]:
        """Go through this page and all that follow it."""
        page = self
        while True:
            yield page
            if not page.has_next_page():
                return
            page = await page.get_next_page()

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.iter_pages():
            for item in page.data:
                yield item


new_page = constructor(Page)
new_async_page = constructor(AsyncPage)


def _whole(_limits: Limits, attribute: Attribute[int], value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f"Limits({attribute.name}={value!r}): give a whole number of 1 or more")


@cache
def policies() -> dict[str, tuple[str, ...]]:
    """Return the words of each key of a profile but ``limits``."""
    return {key: get_args(hint) for key, hint in get_type_hints(Profile).items() if key != "limits"}


def _word(_profile: Profile, attribute: Attribute[str], value: Any) -> None:
    words = policies()[attribute.name]
    if value not in words:
        raise ValueError(f"Profile({attribute.name}={value!r}): give one of {', '.join(map(repr, words))}")


def _limits(_profile: Profile, _attribute: Attribute[Limits], value: Any) -> None:
    if not isinstance(value, Limits):
        raise TypeError(f"Profile(limits={value!r}): give Limits(…)")


@frozen(kw_only=True)
class Limits:
    """The limits of the API (documented).  Raise ``ValueError`` for one that is no whole number of 1 or more."""

    batch_files: int = field(default=2000, validator=_whole)
    store_files: int = field(default=500, validator=_whole)
    page: int = field(default=100, validator=_whole)
    page_default: int = field(default=20, validator=_whole)
    pairs: int = field(default=16, validator=_whole)
    key_characters: int = field(default=64, validator=_whole)
    value_characters: int = field(default=512, validator=_whole)
    expiry_days: int = field(default=365, validator=_whole)
    chunk_tokens_minimum: int = field(default=100, validator=_whole)
    chunk_tokens_maximum: int = field(default=4096, validator=_whole)
    departed: int = field(default=10_000, validator=_whole)
    """How many ids in a list stay valid cursors after what they name has left it (choice)."""
    idempotency_keys: int = field(default=1000, validator=_whole)
    """How many idempotency keys are kept for a store, and for the list of stores (choice)."""


@frozen(kw_only=True)
class Profile:
    """Which of the published variants of the API the engine imitates.  Raise ``ValueError`` for an unknown word.

    * ``batch_object``: the ``object`` of a batch; the OpenAPI enum's word, which typed clients check, or the
      word of the prose and of every recording.
    * ``all_failed``: the status of a batch whose files all failed (recorded: ``failed``).
    * ``cancel_finished``: a cancel of a finished batch changes nothing and returns 200 (recorded), or is
      refused with 400.
    * ``cancel``: a cancel ends all files of the batch that are in progress at once (documented: "as soon as
      possible"), or those alone that nobody holds; a file that is held finishes, and the batch stays
      ``in_progress`` until the last of them has (choice).
    * ``cancel_answer``: a cancel returns the batch as the cancel left it (choice), or as it stood before, with
      the status ``in_progress`` (the document's own example).  The batch changes at once under either, and the
      next retrieve returns it changed.
    * ``duplicates``: of a file that a request names twice the first counts, or the request is refused with 400,
      which names the file and the index of its second mention (choice).
    * ``reattach``: a file that is attached already is attached anew and the old attachment leaves; or the
      attachment that is there stays, whatever its status, and is used again; or the request is refused with 400
      (choice).  If attachments are used again, attaching one such file returns it unchanged, and nothing
      happens; a batch lists and counts those files alone that it attached, so that ``total`` is the sum of its
      own files and no file moves two batches.  A batch that attached none is ``completed`` from the beginning,
      with ``total`` 0 (choice).
    * ``unknown_cursor``: a cursor that is in no list is refused with 400, or is as if it was not given, so that
      the page is the first (choice).  A client that pages under the latter can go round for ever.
    * ``deleted_cursor``: the id of what was deleted keeps its place in the list that it left, or is refused with
      400 (choice).  A batch's list keeps the rows of deleted files, whose ids are cursors of it under either.
    * ``both_cursors``: ``after`` and ``before`` together are the open interval between them, or ``after`` alone
      counts, or they are refused with 400 (choice).
    * ``ties``: the order of files with equal ``created_at``, in lists of files: that of the requests, and under
      ``desc`` its reverse (recorded); that of the requests under ``asc`` and ``desc`` (recorded); or by rising
      id, and under ``desc`` its reverse (choice).  Stores of one second are always listed in the order in which
      they were made, and under ``desc`` in its reverse: the recordings differ about files alone.
    * ``unnamed_store``: the name of a store that was given none is ``""``, which typed clients take for the
      string that the document promises, or ``null`` (recorded).

    The lists that the last policies speak of are those of stores, of their files and of batches' files, not of
    uploads.  ``profiles`` has profiles of servers that are known.
    """

    batch_object: BatchObject = field(default="vector_store.files_batch", validator=_word)
    all_failed: Literal["failed", "completed"] = field(default="failed", validator=_word)
    cancel_finished: Literal["ignore", "refuse"] = field(default="ignore", validator=_word)
    cancel: Literal["immediate", "drain"] = field(default="immediate", validator=_word)
    cancel_answer: Literal["final", "in_progress"] = field(default="final", validator=_word)
    duplicates: Literal["first", "refuse"] = field(default="first", validator=_word)
    reattach: Literal["replace", "reuse", "refuse"] = field(default="replace", validator=_word)
    unknown_cursor: Literal["refuse", "first_page"] = field(default="refuse", validator=_word)
    deleted_cursor: Literal["keeps_its_place", "refuse"] = field(default="keeps_its_place", validator=_word)
    both_cursors: Literal["between", "after", "refuse"] = field(default="between", validator=_word)
    ties: Ties = field(default="request_order", validator=_word)
    unnamed_store: Unnamed = field(default="empty", validator=_word)
    limits: Limits = field(default=Limits(), validator=_limits)


class _Names(dict[type, tuple[str, ...]]):
    def __missing__(self, cls: type) -> tuple[str, ...]:
        shown = [a.name for a in cast("Any", cls).__attrs_attrs__ if not a.name.startswith("_")]
        if cls is VectorStoreFile:
            shown.remove("attachment")
        return self.setdefault(cls, tuple(shown))


_NAMES = _Names()


def names_of(cls: type) -> tuple[str, ...]:
    """Return the names of the fields that a value shows on the wire."""
    return _NAMES[cls]


def data_of(value: Any) -> dict[str, Any]:
    """Return the value's fields as a dict, one level deep, without private ones."""
    return {name: getattr(value, name) for name in names_of(type(value))}

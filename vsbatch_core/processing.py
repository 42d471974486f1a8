"""The processing of files: what the server or test that embeds the engine calls as files are worked on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from operator import attrgetter, itemgetter
from sys import maxsize
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vsbatch_core import decisions, validation
from vsbatch_core import events as ev
from vsbatch_core.claims import Claim, ClaimsChange, Completed, Failed, extended
from vsbatch_core.errors import (
    ArrayTooShort,
    InvalidId,
    InvalidType,
    MissingParameter,
    NotAttached,
    SubscriberError,
    VectorStoreNotFound,
    VsbatchError,
)
from vsbatch_core.model import MESSAGES, ErrorCode, LastError, VectorStoreFile
from vsbatch_core.registry import ALL, Registry, raise_from
from vsbatch_core.store import Store

if TYPE_CHECKING:
    import threading

    from vsbatch_core.work import Handler

T = TypeVar("T")


def _error(code: Any, message: Any, place: str = "") -> LastError:
    code = validation.error_code(code, f"{place}code")
    if message is None:
        return LastError(code, MESSAGES[code])
    return LastError(code, validation.string(f"{place}message", message))


def _require_each(param: str, value: Any, kind: type | tuple[type, ...], name: str) -> None:
    """Refuse what is no list of these."""
    for i, item in enumerate(validation.array(param, value, 0, maxsize)):
        if not isinstance(item, kind):
            raise InvalidType(f"{param}[{i}]", name, item)


def _claims(_subject: Any, change: ClaimsChange | None) -> list[Claim]:
    made = [] if change is None else [claim for held in change.held.values() for claim in held.values()]
    return sorted(made, key=attrgetter("number"))  # across stores too, the oldest file first


def _file_ids(value: Any) -> tuple[str, ...]:
    return tuple(validation.string_ids("file_ids", validation.array("file_ids", value, 0, maxsize)))


def _value(store: Store, event: ev.FileCompleted | ev.FileFailed) -> VectorStoreFile:
    return store.rows.read(event.attachment)


def _no_store(tried: str, vector_store_id: str, file_id: Any) -> NotAttached:
    """Return the error for a file of a store that is not there; raise the one for what is no file id."""
    validation.string("file_id", file_id, minimum=1)
    return NotAttached(file_id, vector_store_id, "not there: there is no such store", tried)


def _nothing(_store: Store, _event: ev.Event | None) -> None:
    return None


class Unchecked:
    """``engine.processing.unchecked``: what a simulation calls for what it has worked out itself.

    Arguments are not validated, and nothing is returned.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def claim_attachments(self, vector_store_id: str, attachments: Sequence[int], worker: str) -> None:
        """Give ``worker`` attachments for ever, but for those that have ended or are held; as ``claim``."""
        registry = self._registry

        def decide(store: Store, now: float) -> ClaimsChange | None:
            return decisions.claim_files(
                [(store, row) for row in attachments if store.claimable(row)],
                now,
                len(attachments),
                worker=worker,
                lease_seconds=inf,
                made=registry.due.claims_made,
                in_turn=False,
            )

        registry.execute(vector_store_id, decide, _nothing)

    def complete_attachment(self, vector_store_id: str, file_id: str, usage_bytes: int) -> None:
        """Complete a file; as ``complete``."""
        self._registry.execute(
            vector_store_id,
            lambda store, now: decisions.complete_file(store, now, file_id, None, usage_bytes),
            _nothing,
        )

    def complete_attachments(self, vector_store_id: str, attachments: Sequence[int]) -> None:
        """Complete the files of attachments, which rise and take up nothing; as ``complete_many``."""
        rows = tuple(attachments)
        self._registry.execute(
            vector_store_id, lambda store, now: decisions.complete_attachments(store, now, rows), _nothing
        )


class Processing:
    """``engine.processing``: what waits to be processed, and what became of it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.unchecked = Unchecked(registry)

    def pending(self, vector_store_id: str | None = None, *, limit: int = 100) -> list[VectorStoreFile]:
        """Return the oldest attachments in progress, of one store or of all.  O(log n + limit).

        Files that workers hold are among them: to work on a file, ``claim`` it.  Across stores they come by
        ``created_at``, ties by the age of the store (choice).
        """
        limit = validation.integer("limit", limit, 1)
        return self._registry.view(self._pending, vector_store_id, limit)

    def _pending(self, vector_store_id: str | None, limit: int) -> list[VectorStoreFile]:
        registry = self._registry
        return registry.pending(None if vector_store_id is None else registry.store(vector_store_id), limit)

    def claim(
        self,
        limit: int = 1,
        *,
        worker: str,
        lease_seconds: float = 60.0,
        vector_store_id: str | None = None,
        attachments: Sequence[int] | None = None,
    ) -> list[Claim]:
        """Give ``worker`` the oldest files that nobody holds, at most ``limit`` of them; return its claims.

        They come in the order of ``pending``, from one store or from all.  Two claims never hold one attachment
        at a time.  A claim ends when its file does, however it does; when it is released; or at its deadline,
        ``lease_seconds`` from now by the engine's clock, unless a heartbeat moves that.  A file whose claim has
        lapsed is claimed again, ``attempt`` one higher, as often as the engine's ``Retry`` says; then it fails.
        With ``attachments``, of one store, only these are claimed, in this order, and those among them that
        cannot be are left out.  ``lease_seconds`` may be ``math.inf``.  O(limit · log n) for one store.

        It is not an event, and a snapshot does not contain it: see ``claims``.  A claim is not needed to finish a
        file, but a cancel with ``cancel="drain"`` leaves those files running that are held (choice).
        """
        registry = self._registry
        n = validation.integer("limit", limit, 1)
        validation.string("worker", worker, minimum=1)
        seconds = validation.seconds("lease_seconds", lease_seconds)
        if attachments is not None:
            if vector_store_id is None:
                raise MissingParameter("vector_store_id")
            rows = validation.array("attachments", attachments, 0, maxsize)
            for i, row in enumerate(rows):
                validation.integer(f"attachments[{i}]", row, 0)

        def decide(subject: Any, now: float) -> ClaimsChange | None:
            if attachments is None:
                candidates = registry.claimable(None if subject is registry else subject)
            else:
                candidates = ((subject, row) for row in dict.fromkeys(rows) if subject.claimable(row))
            return decisions.claim_files(
                candidates,
                now,
                min(n, maxsize),
                worker=worker,
                lease_seconds=seconds,
                made=registry.due.claims_made,
                in_turn=attachments is None,
            )

        return registry.execute(ALL if vector_store_id is None else vector_store_id, decide, _claims)

    def heartbeat(self, claims: Sequence[Claim], *, lease_seconds: float = 60.0) -> list[Claim | VsbatchError]:
        """Move the deadlines of claims to ``lease_seconds`` from now; return the claims as they are then.

        The list has one item for each claim, in order: the claim, or the error that says why it is no longer
        held, as in ``finish``.  O(claims).
        """
        seconds = validation.seconds("lease_seconds", lease_seconds)

        def change(held: list[tuple[Store, Claim]], now: float) -> ClaimsChange:
            changed: dict[int, dict[int, Claim]] = {}
            for store, claim in held:
                row = claim.attachment
                longer = extended(cast("Claim", store.held(row)), store.rows.read(row), now + seconds)
                changed.setdefault(store.number, {})[row] = longer
            return ClaimsChange(held=changed)

        return self._change_held(claims, "extend", change, lambda done, store, row: done.held[store.number][row])

    def release(self, claims: Sequence[Claim]) -> list[VectorStoreFile | VsbatchError]:
        """Give claims back, which then do not count as attempts; return the files as they stand then.

        The files can be claimed again at once, or are cancelled if their batch drains.  The list has one item
        for each claim, in order: the file, or the error that says why the claim is no longer held, as in
        ``finish``.  O(claims · log n).
        """

        def change(held: list[tuple[Store, Claim]], _now: float) -> ClaimsChange:
            return ClaimsChange(
                over={(store.number, claim.attachment): (inf, False, "") for store, claim in held}
            )

        return self._change_held(claims, "release", change, lambda _done, store, row: store.rows.read(row))

    def _change_held(
        self,
        claims: Sequence[Claim],
        tried: str,
        change: Callable[[list[tuple[Store, Claim]], float], ClaimsChange],
        result: Callable[[ClaimsChange, Store, int], T],
    ) -> list[T | VsbatchError]:
        """Change the claims that are held; return a result for each of them, and an error for each other."""
        registry = self._registry
        _require_each("claims", claims, Claim, "a claim")
        found: list[Store | VsbatchError] = []

        def decide(_registry: Registry, now: float) -> ClaimsChange | None:
            found.clear()
            for claim in claims:
                try:
                    store = registry.stores.get(claim.vector_store_id)
                    found.append(decisions.require_held(store, claim, tried))
                except VsbatchError as error:
                    found.append(error)
            pairs = zip(found, claims, strict=True)
            held = [(store, claim) for store, claim in pairs if isinstance(store, Store)]
            return change(held, now) if held else None

        def results(_registry: Registry, done: Any) -> list[T | VsbatchError]:
            pairs = zip(found, claims, strict=True)
            return [
                result(done, store, claim.attachment) if isinstance(store, Store) else store
                for store, claim in pairs
            ]

        return registry.execute(ALL, decide, results)

    def finish(self, outcomes: Sequence[Completed | Failed]) -> list[VectorStoreFile | VsbatchError]:
        """Finish many claims; return one result for each, in order.

        A result is the file as it stands afterwards, or, for an outcome that is refused, the error that says why:
        ``ClaimLost``, ``AlreadyFinished`` (so for a file that was cancelled meanwhile), ``StaleAttachment`` or
        ``NotAttached``.  What is refused changes nothing and does not hold up the others.  A failure with
        ``retry`` leaves the file in progress for another attempt, as often as the engine's ``Retry`` says, and
        fails it with ``server_error`` after the last one; if its batch drains, the file is cancelled.

        One event names all files of a store that completed, one those that failed for the same reason.  Raise an
        error, and change nothing, for what is no outcome.  If subscribers raise, all outcomes count nevertheless,
        and ``SubscriberError`` has the list.  O(outcomes · log n).
        """
        _require_each("outcomes", outcomes, (Completed, Failed), "a Completed or a Failed")
        results: dict[int, VectorStoreFile | VsbatchError] = {}
        # What one event can hold goes together.  The outcomes of one claim stay in their order.
        groups: dict[tuple[int, str, LastError | None, bool], list[tuple[int, Claim, int]]] = {}
        seen: Counter[int] = Counter()
        for i, outcome in enumerate(outcomes):
            claim = outcome.claim
            if not isinstance(claim, Claim):
                raise InvalidType(f"outcomes[{i}].claim", "a claim", claim)
            usage_bytes, error, retry = self._checked(f"outcomes[{i}].", outcome)
            key = (seen[claim.number], claim.vector_store_id, error, retry)
            groups.setdefault(key, []).append((i, claim, usage_bytes))
            seen[claim.number] += 1
        raised: list[BaseException] = []
        for key in sorted(groups, key=itemgetter(0)):
            _, vector_store_id, error, retry = key
            raised += self._finish_group(vector_store_id, groups[key], error, retry, results)
        in_order = [results[i] for i in range(len(outcomes))]
        raise_from(raised, in_order)
        return in_order

    def _checked(self, place: str, outcome: Completed | Failed) -> tuple[int, LastError | None, bool]:
        """Return the bytes, the error and whether to retry; raise the error for what an outcome cannot be."""
        if isinstance(outcome, Failed):
            error = _error(outcome.code, outcome.message, place)
            return 0, error, validation.boolean(f"{place}retry", outcome.retry)
        size: int | None = outcome.usage_bytes
        if size is None:
            size = self._registry.size(outcome.claim.file.id) or 0
        return validation.integer(f"{place}usage_bytes", size, 0, validation.MAX_BYTES), None, False

    def _finish_group(
        self,
        vector_store_id: str,
        group: list[tuple[int, Claim, int]],
        error: LastError | None,
        retry: bool,
        results: dict[int, VectorStoreFile | VsbatchError],
    ) -> Sequence[Exception]:
        """Finish claims of one store that end in the same way; return what subscribers raised."""
        tried = "complete" if error is None else "fail"
        held: list[tuple[int, Claim, int]] = []

        def decide(store: Store, now: float) -> ev.Event | ClaimsChange | None:
            held.clear()
            for i, claim, usage_bytes in group:
                try:
                    decisions.require_held(store, claim, tried)
                    held.append((i, claim, usage_bytes))
                except VsbatchError as refusal:
                    results[i] = refusal
            claims = [claim for _, claim, _ in held]
            return decisions.finish_claims(store, now, claims, [size for _, _, size in held], error, retry)

        def result(store: Store, _event: ev.Event | ClaimsChange | None) -> None:
            for i, claim, _ in held:
                results[i] = store.rows.read(claim.attachment)

        raised: Sequence[Exception] = ()
        refusal: BaseException | None = None
        try:
            self._registry.execute(vector_store_id, decide, result)
        except (VectorStoreNotFound, InvalidId) as error:
            refusal = error
        except SubscriberError as error:  # the other groups are finished all the same
            raised, refusal = cast("ExceptionGroup[Exception]", error.__cause__).exceptions, error.refusal
        if refusal is not None:  # the claim was not made here
            for i, claim, _ in group:
                results[i] = _no_store(tried, vector_store_id, claim.file.id)
        return raised

    def work(
        self,
        handler: Handler,
        *,
        worker: str,
        limit: int = 8,
        lease_seconds: float = 60.0,
        vector_store_id: str | None = None,
        poll_seconds: float = 1.0,
        stop: threading.Event | None = None,
    ) -> None:
        """Process files until ``stop`` is set, at most ``limit`` at a time; return when all of them are finished.

        ``handler(claim)`` is called in a thread of its own for each claim.  It returns ``None`` or the bytes
        that the file takes up, and the file completes; or a ``Completed`` or ``Failed`` of its claim.  If it
        raises, the exception is logged and the file is tried again, as often as the engine's ``Retry`` says.

        The loop claims files in the order of ``claim``, of one store or of all, and sends heartbeats while
        handlers run, so that a claim lapses only if this process dies or stalls.  The time between two
        heartbeats is measured in real seconds: a third of ``lease_seconds``.  Where there is nothing to claim it
        looks again after a pause that doubles up to ``poll_seconds``.  What is refused is logged to
        ``vsbatch_core.work``, and changes nothing; what subscribers raise is logged too.  Raise what else is
        raised by a claim, a heartbeat or the end of a file, such as ``VectorStoreNotFound``, once the handlers
        that run have returned; what could not be finished is given back.

        Signals belong to the host: a handler of SIGTERM may set ``stop``.  After ``KeyboardInterrupt`` the loop
        claims nothing more, waits for the handlers that run, finishes their files, and raises it; after a second
        one it gives their claims back instead, and waits for them.
        """
        from vsbatch_core import work  # noqa: PLC0415 - asyncio, which most programs do not need

        session = work.Session(
            self,
            worker=worker,
            limit=limit,
            lease_seconds=lease_seconds,
            vector_store_id=vector_store_id,
            poll_seconds=poll_seconds,
        )
        work.run(session, handler, stop)

    def complete(
        self,
        vector_store_id: str,
        file_id: str,
        *,
        attachment: int | None = None,
        usage_bytes: int | None = None,
    ) -> VectorStoreFile:
        """Complete a file that was processed and takes up ``usage_bytes``; return it.  O(log n).

        ``attachment`` is the number that ``pending`` gave: a result of an earlier attachment of the file is then
        refused with ``StaleAttachment``.  Without it the file id means the present attachment.  Without
        ``usage_bytes`` it is the size that ``file_size`` returns, or 0.  Raise ``AlreadyFinished`` or
        ``NotAttached`` if the file cannot be completed.
        """
        registry = self._registry
        if usage_bytes is not None:
            if type(usage_bytes) is not int or not 0 <= usage_bytes <= validation.MAX_BYTES:
                validation.integer("usage_bytes", usage_bytes, 0, validation.MAX_BYTES)
        elif registry.file_size is not None:
            usage_bytes = registry.size(validation.string("file_id", file_id, minimum=1))
        try:
            return registry.execute(
                vector_store_id,
                lambda store, now: decisions.complete_file(store, now, file_id, attachment, usage_bytes or 0),
                _value,
            )
        except VectorStoreNotFound:
            raise _no_store("complete", vector_store_id, file_id) from None

    def fail(
        self,
        vector_store_id: str,
        file_id: str,
        *,
        attachment: int | None = None,
        code: ErrorCode = "server_error",
        message: str | None = None,
    ) -> VectorStoreFile:
        """Fail a file that could not be processed; return it with its ``last_error``.  O(log n).

        ``attachment`` is as in ``complete``.  Raise ``StaleAttachment``, ``AlreadyFinished`` or ``NotAttached``
        if the file cannot be failed.
        """
        error = _error(code, message)
        try:
            return self._registry.execute(
                vector_store_id,
                lambda store, now: decisions.fail_file(store, now, file_id, attachment, error),
                _value,
            )
        except VectorStoreNotFound:
            raise _no_store("fail", vector_store_id, file_id) from None

    def complete_many(
        self,
        vector_store_id: str,
        file_ids: Sequence[str],
        *,
        attachments: Sequence[int] | None = None,
        usage_bytes: int | Sequence[int] = 0,
    ) -> None:
        """Complete many files of one store in one step: all of them or none, and one event that names them all.

        ``usage_bytes`` is the same for all or one for each, and ``attachments`` one for each, as in ``complete``.
        No files are no step.  Raise ``FilesRefused``, which names each file that cannot be completed and why.
        O(files · log n), and a fraction of that many calls of ``complete``.
        """
        ids = _file_ids(file_ids)
        if isinstance(usage_bytes, (list, tuple)):
            sizes = _one_each("usage_bytes", usage_bytes, len(ids), validation.MAX_BYTES)
        else:
            sizes = (validation.integer("usage_bytes", usage_bytes, 0, validation.MAX_BYTES),) * len(ids)
        numbers = None if attachments is None else _one_each("attachments", attachments, len(ids), None)
        self._registry.execute(
            vector_store_id,
            lambda store, now: decisions.complete_files(store, now, ids, numbers, sizes),
            _nothing,
        )

    def fail_many(
        self,
        vector_store_id: str,
        file_ids: Sequence[str],
        *,
        attachments: Sequence[int] | None = None,
        code: ErrorCode = "server_error",
        message: str | None = None,
    ) -> None:
        """Fail many files of one store in one step, all for the same reason; else as ``complete_many``."""
        ids = _file_ids(file_ids)
        error = _error(code, message)
        numbers = None if attachments is None else _one_each("attachments", attachments, len(ids), None)
        self._registry.execute(
            vector_store_id, lambda store, now: decisions.fail_files(store, now, ids, numbers, error), _nothing
        )

    def purge(self, vector_store_id: str | None = None, *, older_than: float) -> list[str]:
        """Purge the batches that have been finished for ``older_than`` seconds, of one store or of all.

        A batch that is purged is not found any more, as one that never was, and its attachments whose files have
        left the store are forgotten, but for those that are valid cursors of the store's list.  Files that are
        attached stay.  It is no activity of the store (choice).  Return the ids, store by store; of each the
        first to finish first, ties by id.  Each store is a step of its own.  O(log n + files of these batches).
        """
        age, registry = validation.age("older_than", older_than), self._registry

        def decide(store: Store, now: float) -> ev.FileBatchesPurged | None:
            return decisions.purge_batches(store, now, age, now)

        def purged(_store: Store, event: ev.FileBatchesPurged | None) -> list[str]:
            return [] if event is None else list(event.batch_ids)

        if vector_store_id is not None:
            return registry.execute(vector_store_id, decide, purged)
        found: list[str] = []
        for store_id in registry.view(lambda: [id for id, store in registry.stores.items() if store.finished]):
            with suppress(VectorStoreNotFound):  # another thread has deleted it
                found += registry.execute(store_id, decide, purged)
        return found


def _one_each(param: str, value: Sequence[int], n: int, maximum: int | None) -> tuple[int, ...]:
    """Return ``n`` integers of 0 to ``maximum``."""
    items = validation.array(param, value, 0, n)
    if len(items) < n:
        raise ArrayTooShort(param, n)
    if set(map(type, items)) - {int} or (
        items and (min(items) < 0 or (maximum is not None and max(items) > maximum))
    ):
        for i, item in enumerate(items):
            validation.integer(f"{param}[{i}]", item, 0, maximum)
    return tuple(items)

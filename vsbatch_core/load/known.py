"""What is known of the server: what an intent becomes, and what its answer tells."""

from __future__ import annotations

from typing import Any

from attrs import evolve, frozen

from vsbatch_core.load.calls import (
    PAGE,
    Answer,
    Request,
    Unreadable,
    delete,
    get,
    identified,
    listed,
    post,
    read,
    said,
)
from vsbatch_core.load.counts import Batch, Store, Verdicts
from vsbatch_core.load.workload import Intent
from vsbatch_core.model import FILE_STATUSES

FILTERED, SHORT = 0.2, 0.6
"""Up to which draw a list is filtered, and up to which a page has the default length; else it has the longest."""

SHORT_PAGE = 20
ENDED = (400, 409)
"""With what a cancel may be refused once the batch has ended."""

UNSURE = 408
"""The one refusal after which a request may have been served all the same, apart from those of 500 and above."""


@frozen
class Call:
    """A request, with what it is done to: an operation of the workload, or of what surrounds it."""

    operation: str
    request: Request
    store: Store | None = None
    batch: Batch | None = None
    files: range = range(0)
    file: str = ""


@frozen
class Outcome:
    """What became of a call: the error if it was one, by its kind, and what was said of it."""

    kind: str | None = None
    message: str = ""
    ended: bool = False
    """Whether it is a cancel that was refused because its batch had ended: no error."""


class Known:
    """The stores, batches and files that were made.

    ``token`` is what the stores are called; ``uploaded`` are the ids of the files to attach, which are made up if
    it is ``None``.  Nothing here depends on anything but what it was told, in the order in which it was.
    """

    def __init__(self, token: str, uploaded: list[str] | None = None) -> None:
        self.token = token
        self.uploaded = uploaded
        self.verdicts = Verdicts()
        self.stores: list[Store] = []
        self.batches: list[Batch] = []
        self.doubtful_stores = False
        """Whether a store may have been made whose answer was lost."""
        self.doubtful_batches = 0
        """How many batches may have been made whose answers were lost."""
        self._uncancelled: list[Batch] = []
        self._deletable: list[tuple[Store, str]] = []

    def file(self, number: int) -> str:
        """The id of the file with this number."""
        return f"file-bench{number:08}" if self.uploaded is None else self.uploaded[number]

    # Requests

    def call(self, intent: Intent) -> Call:
        """What the intent becomes.  What has nothing to be done to becomes what makes that."""
        made = self._call(intent)
        return made if made is not None else self._store()

    def _call(self, intent: Intent) -> Call | None:
        match intent.operation:
            case "store":
                return self._store()
            case "create":
                return self._create(intent, intent.size)
            case "attach":
                return self._attach(intent)
            case "retrieve" | "list" | "file" if self.batches:
                batch = self.batches[int(intent.target * len(self.batches))]
                if intent.operation == "retrieve":
                    return self.retrieve(batch)
                if intent.operation == "file":
                    id = self.file(batch.files[int(intent.detail * len(batch.files))])
                    return Call("file", get("vector_stores", batch.store.id, "files", id), batch=batch, file=id)
                return self._list(intent, batch.store, batch)
            case "list-store" if self.stores:
                return self._list(intent, self.stores[int(intent.target * len(self.stores))], None)
            case "cancel" if self._uncancelled:
                batch = self._uncancelled.pop()
                batch.cancels += 1
                path = ("vector_stores", batch.store.id, "file_batches", batch.id, "cancel")
                return Call("cancel", post(*path), batch=batch)
            case "delete":
                return self._delete(intent)
        return self._create(intent, intent.size)

    def _store(self) -> Call:
        return Call("store", post("vector_stores", name=self.token))

    def _files(self, intent: Intent, size: int) -> tuple[Store, range] | None:
        """A store that has room for so many more files, and their numbers."""
        most = float("inf") if self.uploaded is None else len(self.uploaded)
        roomy = self.stores if self.uploaded is None else [s for s in self.stores if s.used + size <= most]
        if not roomy:
            return None
        store = roomy[int(intent.target * len(roomy))]
        files = range(store.used, store.used + size)
        store.used = files.stop
        return store, files

    def _create(self, intent: Intent, size: int) -> Call | None:
        found = self._files(intent, size)
        return self.create(*found) if found else None

    def create(self, store: Store, files: range) -> Call:
        """The creation of a batch of these files."""
        ids = [self.file(number) for number in files]
        request = post("vector_stores", store.id, "file_batches", file_ids=ids)
        return Call("create", request, store, files=files)

    def retrieve(self, batch: Batch, *, polls: bool = False) -> Call:
        """Return the retrieval of a batch; ``polls`` marks it as a polling helper's."""
        request = get("vector_stores", batch.store.id, "file_batches", batch.id)
        return Call("retrieve", evolve(request, polls=polls), batch=batch)

    def _attach(self, intent: Intent) -> Call | None:
        found = self._files(intent, 1)
        if found is None:
            return None
        store, files = found
        id = self.file(files[0])
        store.single.add(id)  # from now on: a page that is under way may show it before the answer is here
        return Call("attach", post("vector_stores", store.id, "files", file_id=id), store, file=id)

    def _delete(self, intent: Intent) -> Call | None:
        if not self._deletable:
            return self._attach(intent)
        i = int(intent.target * len(self._deletable))
        self._deletable[i], self._deletable[-1] = self._deletable[-1], self._deletable[i]
        store, id = self._deletable.pop()
        return Call("delete", delete("vector_stores", store.id, "files", id), store, file=id)

    def _list(self, intent: Intent, store: Store, batch: Batch | None) -> Call:
        if intent.detail < FILTERED:
            # A first page: the file before which the next one would begin may have left the filter by then.
            wanted = FILE_STATUSES[int(intent.detail / FILTERED * len(FILE_STATUSES))]
            return listing(store, batch, limit=PAGE, filter=wanted)
        limit = SHORT_PAGE if intent.detail < SHORT else PAGE
        return listing(store, batch, limit=limit, after=(batch or store).cursor)

    # Answers

    def take(self, call: Call, answer: Answer, sent: float, received: float) -> Outcome:
        """Note what the answer tells."""
        if answer.status != 200:
            if call.operation == "cancel" and call.batch and answer.status in ENDED:
                call.batch.refused_at = received
                return Outcome(message=said(answer), ended=True)
            if answer.status >= 500 or answer.status < 400 or answer.status == UNSURE:
                self.lost(call)
            return Outcome(str(answer.status), said(answer))
        if call.batch is not None:
            after = answer.poll_after_ms or ""
            call.batch.poll_after = int(after) / 1000 if after.isdecimal() else None
        try:
            self._tell(call, read(answer), sent, received)
        except Unreadable as unreadable:
            self.lost(call)
            return Outcome("unreadable", str(unreadable))
        return Outcome()

    def lost(self, call: Call) -> None:
        """Note that the request may have been served or not."""
        store = call.store
        if call.operation == "store":
            self.doubtful_stores = True
        elif call.operation == "create" and store:
            self.doubtful_batches += 1
            store.doubtful.update(map(self.file, call.files))
        elif call.operation == "attach" and store:
            store.doubtful.add(call.file)
        elif call.operation == "delete" and store:
            store.alone.discard(call.file)
            store.doubtful.add(call.file)

    def _tell(self, call: Call, data: dict[str, Any], sent: float, received: float) -> None:
        store, batch = call.store, call.batch
        if call.operation == "store":
            self.stores.append(Store(identified(data)))
        elif call.operation == "create" and store:
            made = Batch(identified(data), store, call.files)
            self.verdicts.look(made, data, sent, received)
            self.batches.append(made)
            self._uncancelled.append(made)
            store.batched += len(call.files)
        elif call.operation in ("retrieve", "cancel") and batch:
            self.verdicts.look(batch, data, sent, received)
        elif call.operation in ("list", "list-store"):
            self._turn(call, *listed(data))
        elif call.operation == "attach" and store:
            identified(data, call.file)
            self._deletable.append((store, call.file))
            store.alone.add(call.file)
        elif call.operation == "delete" and store:
            identified(data, call.file)
            if data.get("deleted") is not True:
                raise Unreadable("an object that does not say deleted")
            store.alone.discard(call.file)
        else:
            identified(data, call.file)

    def _turn(self, call: Call, files: list[tuple[str, Any]], more: bool) -> None:
        """Note where the walk goes on: behind the last file that stays, as no other need be a cursor for long."""
        owner = call.batch or call.store
        if owner is not None and "filter=" not in call.request.path:
            single = call.store.single if call.store else set()
            staying = [id for id, _ in files if id not in single]
            owner.cursor = staying[-1] if more and staying else None


def listing(store: Store, batch: Batch | None, **query: Any) -> Call:
    """A page of a batch's files, or of its store's."""
    if batch is None:
        return Call("list-store", get("vector_stores", store.id, "files", **query), store)
    path = ("vector_stores", store.id, "file_batches", batch.id, "files")
    return Call("list", get(*path, **query), store, batch)

"""Small servers: ours, with one fault planted in each; and two that are correct and differ from ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from attrs import evolve

from vsbatch_core import Engine, Profile, SeededIds, VirtualClock
from vsbatch_core.adapters.http import Api, Request, Response
from vsbatch_core.adapters.openai import client
from vsbatch_core.adapters.uploads import Uploads
from vsbatch_core.model import FILE_STATUSES
from vsbatch_core.simulation import Plan, Simulation
from vsbatch_core.testing.conformance.probe import Probe

Ask = Callable[..., Response]
"""Asks the correct server: the request, changes of its query (``None`` leaves a parameter out), of its body."""
Server = Callable[[Request, Ask], Response]

BAD = "file-bad"
SLOW = Plan(workers=2, service=0.5, by_id={BAD: "unsupported_file"})


class Faulty(Api):
    """The API, with something between it and its clients."""

    server: Server

    def dispatch(self, request: Request) -> Response:
        return self.server(request, self._ask)

    def _ask(self, request: Request, body: dict[str, Any] | None = None, **query: Any) -> Response:
        if query:
            now = {**dict(parse_qsl(request.query)), **query}
            request = evolve(request, query=urlencode({k: v for k, v in now.items() if v is not None}))
        if body is not None:
            request = evolve(request, body=json.dumps(body).encode())
        return super().dispatch(request)


class World:
    """A server in this process, on virtual time: ours, or one with something between it and its clients.

    ``tick`` is how long every request takes, in seconds.
    """

    def __init__(
        self,
        server: Server | None = None,
        *,
        plan: Plan = SLOW,
        profile: Profile | None = None,
        uploads: bool = False,
        bad_file: str | None = BAD,
        tick: float = 0.0,
    ) -> None:
        clock, ids = VirtualClock(), SeededIds(0)
        kept = Uploads(clock=clock, ids=ids) if uploads else None
        file_size = kept.file_size if kept else None
        engine = Engine(clock=clock, ids=ids, profile=profile, file_size=file_size)
        self.simulation = simulation = Simulation(engine, plan=plan)
        self.uploads, self.bad_file = uploads, bad_file

        def timed(request: Request, ask: Ask) -> Response:
            response = server(request, ask) if server else ask(request)
            simulation.advance(tick)
            return response

        self.api = Faulty(engine, uploads=kept)
        # Not an argument: the class below it is frozen, and its arguments are its users'.
        object.__setattr__(self.api, "server", timed if tick else server or (lambda request, ask: ask(request)))
        self.client = client(self.api)

    def probe(self) -> Probe:
        """What the laws see of it."""
        clock = self.simulation.clock
        bad_file = None if self.uploads else self.bad_file
        return Probe(
            self.client, bad_file=bad_file, uploads=self.uploads, sleep=self.simulation.advance, now=clock.time
        )


# What the servers look at and change


def read(response: Response) -> Any:
    return json.loads(response.body)


def write(response: Response, data: Any, status: int = 200) -> Response:
    return evolve(response, body=json.dumps(data).encode(), status=status)


def refusal(status: int, *headers: tuple[str, str]) -> Response:
    error = {"message": "no", "type": "invalid_request_error", "param": None, "code": None}
    body = json.dumps({"error": error}).encode()
    return Response(status, (("content-type", "application/json"), *headers), body)


def garbled(response: Response) -> Response:
    return evolve(response, body=response.body[:-1])


def query(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.query))


def parts(request: Request) -> list[str]:
    return request.path.removeprefix("/v1/").split("/")


def is_list(request: Request) -> bool:
    return request.method == "GET" and request.path.endswith("/files")


def is_creation(request: Request) -> bool:
    return request.method == "POST" and request.path.endswith("/file_batches")


def is_cancel(request: Request) -> bool:
    return request.path.endswith("/cancel")


def is_batch(request: Request) -> bool:
    """Whether the answer is a batch."""
    return "file_batches" in parts(request) and not is_list(request)


def on(which: Callable[[Request], bool], change: Callable[[Any], object]) -> Server:
    """A server that changes the JSON of such answers, if they are successes."""

    def server(request: Request, ask: Ask) -> Response:
        response = ask(request)
        if which(request) and response.status == 200:
            data = read(response)
            change(data)
            return write(response, data)
        return response

    return server


def pages_of(arrange: Callable[[list[Any], bool], list[Any]], *, forgetful: bool = False) -> Server:
    """A server that pages by itself, through files that ``arrange`` puts in order.

    It is called with the files, oldest first, and with whether they are wanted in rising order.
    A file that has left the list keeps its place; a ``forgetful`` server takes its id for no cursor at all.
    """
    known: dict[str, dict[str, Any]] = {}

    def server(request: Request, ask: Ask) -> Response:
        response = ask(request)
        asked = query(request)
        if not is_list(request) or response.status != 200:
            return response
        now = read(ask(request, after=None, before=None, order="asc", limit=100, filter=None))["data"]
        here = {file["id"]: file for file in now if file["status"] == asked.get("filter", file["status"])}
        every = known.setdefault(request.path, {})
        every.update({file["id"]: file for file in now})
        files = arrange(list((here if forgetful else every).values()), asked.get("order") == "asc")
        return write(response, page_of(files, asked, here))

    return server


def both_ways(files: list[Any], rising: bool) -> list[Any]:
    return files if rising else files[::-1]


def page_of(files: list[Any], asked: dict[str, str], here: Any = None) -> dict[str, Any]:
    """The page that is asked for of the files that are ``here``; the others only hold their places."""
    ids = [file["id"] for file in files]
    low = ids.index(asked["after"]) + 1 if asked.get("after") in ids else 0
    high = ids.index(asked["before"]) if asked.get("before") in ids else len(ids)
    found = [file for file in files[low : max(low, high)] if here is None or file["id"] in here]
    limit = int(asked.get("limit", 20))
    more = len(found) > limit
    found = found[-limit:] if "before" in asked and "after" not in asked else found[:limit]
    return {
        "object": "list",
        "data": found,
        "first_id": found[0]["id"] if found else None,
        "last_id": found[-1]["id"] if found else None,
        "has_more": more,
    }


# One fault each


def cancel_leaves_counts() -> Server:
    """A cancelled batch says cancelled, and goes on counting its files as in progress."""
    frozen: dict[str, Any] = {}

    def server(request: Request, ask: Ask) -> Response:
        id = parts(request)[3] if is_batch(request) and len(parts(request)) > 3 else ""
        if is_cancel(request) and id not in frozen:
            before = ask(evolve(request, method="GET", path=request.path.removesuffix("/cancel"), body=b""))
            if before.status == 200 and read(before)["status"] == "in_progress":
                frozen[id] = read(before)["file_counts"]
        response = ask(request)
        if id in frozen and response.status == 200:
            return write(response, {**read(response), "file_counts": frozen[id]})
        return response

    return server


def cancel_leaves_status() -> Server:
    """A cancelled batch counts its files as cancelled, and says that it is in progress."""

    def change(batch: Any) -> None:
        if batch["status"] == "cancelled":
            batch["status"] = "in_progress"

    return on(is_batch, change)


def before_is_page_one() -> Server:
    """``before`` answers the first items that precede the cursor, not the last."""

    def server(request: Request, ask: Ask) -> Response:
        asked = query(request)
        if is_list(request) and "before" in asked and "after" not in asked:
            limit = int(asked.get("limit", 20))
            response = ask(request, limit=100)
            if response.status == 200:
                return write(response, page_of(read(response)["data"], {"limit": str(limit)}))
            return response
        return ask(request)

    return server


def unknown_cursor_is_page_one() -> Server:
    """An unknown cursor is passed over."""

    def server(request: Request, ask: Ask) -> Response:
        response = ask(request)
        if is_list(request) and response.status == 400 and read(response)["error"]["code"] == "invalid_cursor":
            return ask(request, after=None, before=None)
        return response

    return server


def desc_is_asc_on_ties() -> Server:
    """A stable sort by created_at in both directions: within one second, desc is asc."""
    return pages_of(lambda files, rising: sorted(files, key=lambda file: file["created_at"], reverse=not rising))


def ties_are_backwards() -> Server:
    """Within one second the file that was named last comes first under asc, and last under desc."""

    def arranged(files: list[Any], rising: bool) -> list[Any]:
        falling = sorted(files, key=lambda file: file["created_at"], reverse=True)  # leaves ties as they were
        return falling[::-1] if rising else falling

    return pages_of(arranged)


def order_is_ignored() -> Server:
    """Every list is ascending."""
    return pages_of(lambda files, _rising: files)


def has_more_on_the_last_page() -> Server:
    """``has_more`` is true wherever there is anything."""

    def change(page: Any) -> None:
        page["has_more"] = bool(page["data"])

    return on(is_list, change)


def has_more_never() -> Server:
    """``has_more`` is always false."""
    return on(is_list, lambda page: page.update(has_more=False))


def duplicates_never_end() -> Server:
    """A file given twice is listed twice, and a walk with limit 1 stands before it for ever."""
    twice: dict[str, str] = {}

    def server(request: Request, ask: Ask) -> Response:
        response = ask(request)
        if is_creation(request) and response.status == 200:
            ids = json.loads(request.body).get("file_ids") or []
            double = [id for id in ids if ids.count(id) > 1]
            if double:
                twice[read(response)["id"]] = double[0]
        if is_list(request) and response.status == 200 and "file_batches" in parts(request):
            double_id = twice.get(parts(request)[3])
            if double_id:
                everything = read(ask(request, after=None, before=None, order="asc", limit=100))["data"]
                files = [*everything, *(file for file in everything if file["id"] == double_id)]
                return write(response, page_of(files, query(request)))
        return response

    return server


def duplicates_count_twice() -> Server:
    """``total`` counts what was asked for, also twice, and so does what is in progress or completed."""
    more: dict[str, int] = {}

    def server(request: Request, ask: Ask) -> Response:
        response = ask(request)
        if response.status != 200 or not is_batch(request):
            return response
        batch = read(response)
        if is_creation(request):
            body = json.loads(request.body)
            ids = body.get("file_ids") or [file["file_id"] for file in body["files"]]
            more[batch["id"]] = len(ids) - len(set(ids))
        counts = batch["file_counts"]
        extra = more.get(batch["id"], 0)
        counts["total"] += extra
        counts["in_progress" if counts["in_progress"] else "completed"] += extra
        return write(response, batch)

    return server


def unfinished_files_are_not_listed() -> Server:
    """A list without the files that are in progress."""
    return pages_of(
        lambda files, rising: both_ways([file for file in files if file["status"] != "in_progress"], rising)
    )


def limits_are_not_checked() -> Server:
    """A limit out of range is brought into it."""

    def server(request: Request, ask: Ask) -> Response:
        limit = query(request).get("limit")
        if is_list(request) and limit is not None and not 1 <= int(limit) <= 100:
            return ask(request, limit=min(max(int(limit), 1), 100))
        return ask(request)

    return server


def words_are_not_checked() -> Server:
    """An unknown order or filter is passed over."""

    def server(request: Request, ask: Ask) -> Response:
        bogus = {name: None for name in ("order", "filter") if query(request).get(name) == "bogus"}
        return ask(request, **bogus)

    return server


def files_are_ignored() -> Server:
    """``files=[…]`` makes a batch of no file."""
    empty: dict[str, Any] = {}
    counts = dict.fromkeys(("in_progress", "completed", "failed", "cancelled", "total"), 0)

    def server(request: Request, ask: Ask) -> Response:
        response = ask(request)
        if response.status == 200 and is_creation(request) and "files" in json.loads(request.body):
            batch = {**read(response), "status": "completed", "file_counts": counts}
            empty[batch["id"]] = batch
            return write(response, batch)
        if response.status == 200 and is_list(request) and "file_batches" in parts(request):
            if parts(request)[3] in empty:
                return write(response, page_of([], {}))
        elif response.status == 200 and is_batch(request) and read(response)["id"] in empty:
            return write(response, empty[read(response)["id"]])
        return response

    return server


def pages_follow_status() -> Server:
    """A list in which files in progress come first: what ends meanwhile moves behind, or before, the cursor."""
    return pages_of(
        lambda files, rising: sorted(both_ways(files, rising), key=lambda file: file["status"] != "in_progress")
    )


def cursors_must_match_the_filter() -> Server:
    """A cursor whose item has left the filter is page one."""
    return pages_of(both_ways, forgetful=True)


def another_stores_batch_is_answered() -> Server:
    """A batch is found under any store."""
    store_of: dict[str, str] = {}

    def server(request: Request, ask: Ask) -> Response:
        segments = parts(request)
        if len(segments) > 3 and segments[2] == "file_batches" and segments[3] in store_of:
            segments[1] = store_of[segments[3]]
            return ask(evolve(request, path="/v1/" + "/".join(segments)))
        response = ask(request)
        if is_creation(request) and response.status == 200:
            store_of[read(response)["id"]] = segments[1]
        return response

    return server


def errors_without_param() -> Server:
    """Error bodies with three fields."""

    def server(request: Request, ask: Ask) -> Response:
        response = ask(request)
        if response.status >= 400 and read(response)["error"]["param"] is None:
            error = read(response)["error"]
            del error["param"]
            return write(response, {"error": error}, response.status)
        return response

    return server


def total_forgets_the_cancelled() -> Server:
    """``total`` is the sum of three counts."""

    def change(batch: Any) -> None:
        batch["file_counts"]["total"] -= batch["file_counts"]["cancelled"]

    return on(is_batch, change)


def terminal_too_early() -> Server:
    """A batch says completed as soon as its first file is."""

    def change(batch: Any) -> None:
        if batch["status"] == "in_progress" and batch["file_counts"]["completed"]:
            batch["status"] = "completed"

    return on(is_batch, change)


def second_cancel_is_an_error() -> Server:
    """A cancel of a cancelled batch answers 500."""

    def server(request: Request, ask: Ask) -> Response:
        if is_cancel(request):
            before = ask(evolve(request, method="GET", path=request.path.removesuffix("/cancel"), body=b""))
            if before.status == 200 and read(before)["status"] == "cancelled":
                return refusal(500)
        return ask(request)

    return server


def statuses_change_their_minds() -> Server:
    """Every fourth look at a completed batch finds it failed."""
    looks: dict[str, int] = {}

    def change(batch: Any) -> None:
        if batch["status"] == "completed":
            looks[batch["id"]] = looks.get(batch["id"], 0) + 1
            batch["status"] = "completed" if looks[batch["id"]] % 4 else "failed"

    return on(is_batch, change)


def filter_is_ignored() -> Server:
    """Every filtered list is the whole one."""

    def server(request: Request, ask: Ask) -> Response:
        known = is_list(request) and query(request).get("filter") in FILE_STATUSES
        return ask(request, filter=None) if known else ask(request)

    return server


def after_is_inclusive() -> Server:
    """A page begins with its cursor, unless that is the last item."""

    def server(request: Request, ask: Ask) -> Response:
        asked = query(request)
        response = ask(request)
        if not is_list(request) or response.status != 200 or "after" not in asked or "before" in asked:
            return response
        files = read(ask(request, after=None, limit=100))["data"]
        ids = [file["id"] for file in files]
        if asked["after"] in ids[:-1]:
            found = files[ids.index(asked["after"]) :]
            return write(response, page_of(found, {"limit": asked.get("limit", "20")}))
        return response

    return server


def created_is_completed() -> Server:
    """A new batch already says completed, though its list knows better."""

    def change(batch: Any) -> None:
        counts = batch["file_counts"]
        batch["status"] = "completed"
        counts["completed"] += counts["in_progress"]
        counts["in_progress"] = 0

    return on(is_creation, change)


def failures_have_no_reason() -> Server:
    """A failed file's last_error is null."""

    def change(page: Any) -> None:
        for file in page["data"]:
            file["last_error"] = None

    return on(is_list, change)


def both_are_taken() -> Server:
    """``file_ids`` wins where ``files`` is given too."""

    def server(request: Request, ask: Ask) -> Response:
        body = json.loads(request.body) if is_creation(request) else {}
        if body.get("files") and body.get("file_ids"):
            del body["files"]
            return ask(request, body=body)
        return ask(request)

    return server


def all_failed_is_completed() -> Server:
    """A batch of which every file failed says completed."""

    def change(batch: Any) -> None:
        if batch["status"] == "failed":
            batch["status"] = "completed"

    return on(is_batch, change)


def completed_is_never_said() -> Server:
    """A batch that completed goes on saying that it is in progress."""

    def change(batch: Any) -> None:
        if batch["status"] == "completed":
            batch["status"] = "in_progress"

    return on(is_batch, change)


# Not one of these is wrong by itself: what laws cannot be tried on


def lists_are_empty() -> Server:
    """No list shows anything."""
    return on(is_list, lambda page: page.update(page_of([], {})))


def lists_never_end() -> Server:
    """The last file follows itself."""

    def server(request: Request, ask: Ask) -> Response:
        response = ask(request)
        if is_list(request) and response.status == 200 and not read(response)["data"]:
            return ask(request, after=None, before=None)
        return response

    return server


def lists_have_five_files() -> Server:
    """No list shows more than five files."""
    return pages_of(lambda files, rising: both_ways(files, rising)[:5])


def nothing_is_refused() -> Server:
    """What should be refused is answered with a store."""

    def server(request: Request, ask: Ask) -> Response:
        response = ask(request)
        store = {"id": "vs_1", "object": "vector_store"}
        return write(response, store) if response.status >= 400 else response

    return server


def batches_are_of_another_word() -> Server:
    """A batch's object is neither of the two words that the API has for it."""
    return on(is_batch, lambda batch: batch.update(object="vector_store.batch"))


def batches_change_their_word() -> Server:
    """A batch's object is one word when it is created, and the other when it is retrieved."""
    return on(is_creation, lambda batch: batch.update(object="vector_store.file_batch"))


# Correct, and different


def ties_by_id() -> Server:
    """Files of one second come by rising id, whichever way round."""
    return pages_of(
        lambda files, rising: sorted(
            files, key=lambda file: (file["created_at"] * (1 if rising else -1), file["id"])
        )
    )


def unknown_batch_is_400() -> Server:
    """An unknown batch is a bad request, not a missing object."""

    def server(request: Request, ask: Ask) -> Response:
        response = ask(request)
        if response.status == 404 and "No file batch found" in read(response)["error"]["message"]:
            return evolve(response, status=400)
        return response

    return server

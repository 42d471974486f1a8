"""A run of a scenario: the client that creates, watches and gives up batches, and what came of it.

The client speaks to the simulation's API as one over HTTP does, so it meets the faults, and waits on the virtual
clock.  It does any number of things at a time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from attrs import frozen

from vsbatch_core import Engine, SequentialIds, VirtualClock, VsbatchError, events
from vsbatch_core.adapters.http import Request, Response
from vsbatch_core.cli.job import BatchRun
from vsbatch_core.cli.progress import Show
from vsbatch_core.cli.scenario import Deed, Load, Scenario
from vsbatch_core.simulation import Simulation

AGAIN = frozenset((408, 409, 429))
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
HEADERS = (("content-type", "application/json"),)

Then = Callable[[Response | None], None]
"""Called with what was answered in the end; ``None`` if nothing was."""


class Place(NamedTuple):
    """Where a batch is."""

    vector_store_id: str
    batch_id: str


@frozen(kw_only=True)
class Played:
    """What came of a run.

    * ``runs``: the batches that were created, in order, each with the seconds until its last file ended.
    * ``names``: by batch id, what the scenario calls it.
    * ``alone``: how many files were attached alone, which are in no batch.
    * ``requests``, ``retried``: what the client sent, retries included, and how often it tried again.
    * ``refused``: by what was asked and answered, how often that was the last word.
    * ``given_up``: the names of the batches that the client waited for in vain.
    * ``faults``: by name, how often each was met.
    * ``seconds``: for how long it ran, of virtual time.
    """

    scenario: Scenario
    engine: Engine
    simulation: Simulation
    stores: list[str]
    runs: list[BatchRun]
    names: dict[str, str]
    alone: int
    requests: int
    retried: int
    refused: dict[tuple[str, int | None], int]
    given_up: list[str]
    faults: dict[str, int]
    seconds: float


def play(
    scenario: Scenario,
    show: Show,
    *,
    record: bool = False,
    hear: Callable[[events.Event], object] | None = None,
) -> Played:
    """Run the scenario; ``hear`` is called with each event."""
    return _Run(scenario, show, record=record, hear=hear).played()


class _Run:
    def __init__(
        self,
        scenario: Scenario,
        show: Show,
        *,
        record: bool,
        hear: Callable[[events.Event], object] | None,
    ) -> None:
        self.scenario = scenario
        self.show = show
        self.engine = Engine(clock=VirtualClock(), ids=SequentialIds(), profile=scenario.profile)
        self.simulation = Simulation(
            self.engine, seed=scenario.seed, plan=scenario.plan, faults=scenario.faults, record=record
        )
        self.engine.subscribe(self.heard)
        if hear is not None:
            self.engine.subscribe(hear)
        self.files = sum(len(load.files) for load in scenario.loads)
        self.attached = self.ended = self.alone = 0
        self.batch_of: dict[tuple[str, str], Place] = {}
        self.created: dict[Place, float] = {}
        self.last: dict[Place, float] = {}
        self.places: dict[str, Place] = {}
        """By the name of a batch, where the client has it."""
        self.names: dict[str, str] = {}
        self.requests = self.retried = self.made_up = 0
        self.refused: Counter[tuple[str, int | None]] = Counter()
        self.given_up: list[str] = []

    def played(self) -> Played:
        simulation, scenario = self.simulation, self.scenario
        # The stores are there before anything goes wrong.
        stores = {name: self.engine.vector_stores.create(name=name).id for name in scenario.stores}
        for load in scenario.loads:
            simulation.at(load.at, self.creation(load, stores[load.store]))
        for deed in scenario.deeds:
            self.plan(deed, stores)
        simulation.run(scenario.until)
        return Played(
            scenario=scenario,
            engine=self.engine,
            simulation=simulation,
            stores=list(stores.values()),
            runs=list(self.runs()),
            names=self.names,
            alone=self.alone,
            requests=self.requests,
            retried=self.retried,
            refused=dict(self.refused),
            given_up=self.given_up,
            faults=dict(simulation.api.state.met),
            seconds=simulation.now,
        )

    def runs(self) -> list[BatchRun]:
        found = []
        for place, created in self.created.items():
            try:
                batch = self.engine.vector_stores.file_batches.retrieve(
                    place.batch_id, vector_store_id=place.vector_store_id
                )
            except VsbatchError:
                continue  # its store was deleted
            found.append(BatchRun(batch, self.last.get(place, created) - created))
        return found

    def heard(self, event: events.Event) -> None:
        """Count what happens, for the progress and for how long each batch took."""
        files = events.attached(event)
        if files:
            self.attached += len(files)
            self.files = max(self.files, self.attached)
            self.show("attaching", self.attached, self.files)
        for file_id in events.ended(event):
            self.ended += 1
            self.show("processing", min(self.ended, self.files), self.files)
            of = self.batch_of.get((event.vector_store_id, file_id))
            if of is not None:
                self.last[of] = event.at
        if isinstance(event, events.FileBatchCreated):
            place = Place(event.vector_store_id, event.batch_id)
            self.created[place] = event.at
            self.batch_of.update(((event.vector_store_id, file_id), place) for file_id in files)
        elif isinstance(event, events.FileAttached):
            self.alone += 1
        elif isinstance(event, events.FileBatchCancelled):
            self.last[Place(event.vector_store_id, event.batch_id)] = event.at

    # The client

    def send(self, what: str, method: str, path: str, body: dict[str, Any] | None, then: Then) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        request = Request(method, f"/v1/vector_stores/{path}", headers=HEADERS, body=data)
        self.attempt(what, request, self.scenario.customer.retries, FIRST_WAIT, then)

    def attempt(self, what: str, request: Request, left: int, wait: float, then: Then) -> None:
        answer = self.simulation.api.answer(request)
        self.requests += 1

        def arrived() -> None:
            response = answer.response
            status = None if response is None else response.status
            if left and (status is None or status in AGAIN or status >= 500):
                self.retried += 1
                told = {} if response is None else dict(response.headers)
                seconds = float(told.get("retry-after", wait))
                longer = min(2 * wait, LONGEST_WAIT)
                self.simulation.at(seconds, lambda: self.attempt(what, request, left - 1, longer, then))
                return
            if status != 200:
                self.refused[what, status] += 1
            then(response)

        if answer.seconds:
            self.simulation.at(answer.seconds, arrived)
        else:
            arrived()

    def creation(self, load: Load, store: str) -> Callable[[], None]:
        def created(response: Response | None) -> None:
            if response is None or response.status != 200:
                return
            place = Place(store, json.loads(response.body)["id"])
            self.places[load.name] = place
            self.names[place.batch_id] = load.name
            if self.scenario.customer.poll is not None:
                self.watch(load.name, place, self.simulation.now)

        return lambda: self.send("create batch", "POST", f"{store}/file_batches", {"files": load.files}, created)

    def watch(self, name: str, place: Place, since: float) -> None:
        """Look at a batch until none of its files is in progress, or patience runs out."""
        customer, simulation = self.scenario.customer, self.simulation
        known = place

        def seen(response: Response | None) -> None:
            nonlocal known
            if response is not None and response.status == 200:
                shown = json.loads(response.body)
                if not shown["file_counts"]["in_progress"]:
                    return
                known = place._replace(batch_id=shown["id"])  # as clients take it from what they see
                left = customer.timeout - (simulation.now - since)
                if left > 0:
                    simulation.at(min(customer.poll or left, left), look)
                    return
            self.given_up.append(name)
            if customer.on_timeout == "cancel":
                self.cancel(known)

        def look() -> None:
            self.send(
                "retrieve batch", "GET", f"{place.vector_store_id}/file_batches/{place.batch_id}", None, seen
            )

        look()

    def cancel(self, place: Place) -> None:
        path = f"{place.vector_store_id}/file_batches/{place.batch_id}/cancel"
        self.send("cancel batch", "POST", path, None, _nothing)

    # What is done meanwhile

    def plan(self, deed: Deed, stores: dict[str, str]) -> None:
        def act() -> None:
            self.do(deed, stores)

        simulation, every = self.simulation, deed.every
        if every is None:
            simulation.at(deed.at, act)
        elif deed.times is not None:
            for i in range(deed.times):
                simulation.at(deed.at + i * every, act)
        else:
            simulation.at(deed.at, act)
            simulation.at(deed.at, lambda: simulation.every(every, act))

    def do(self, deed: Deed, stores: dict[str, str]) -> None:
        what = deed.do.replace("_", " ")
        path = stores.get(deed.store, "")
        if deed.batch:
            place = self.places.get(deed.batch)
            if place is None:
                self.refused[f"{what} (no batch yet)", None] += 1
                return
            path = f"{place.vector_store_id}/file_batches/{place.batch_id}"
        if deed.do == "cancel":
            self.send(what, "POST", f"{path}/cancel", None, _nothing)
        elif deed.do == "attach":
            self.made_up += not deed.file
            file = deed.file or f"file-more-{self.made_up:06d}"
            self.send(what, "POST", f"{path}/files", {"file_id": file}, _nothing)
        elif deed.do.startswith("delete"):
            self.send(what, "DELETE", f"{path}/files/{deed.file}" if deed.file else path, None, _nothing)
        elif deed.do == "list" or not deed.file:
            self.send(what, "GET", f"{path}/files" if deed.do == "list" else path, None, _nothing)
        else:
            self.send(what, "GET", f"{path}/files/{deed.file}", None, _nothing)


def _nothing(_response: Response | None) -> None:
    """Nobody waits for this answer."""

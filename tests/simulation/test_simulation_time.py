"""The simulation's time: acts, bounds, seeds, polls, the timeline and the report."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Engine, Profile, VirtualClock, errors, events
from vsbatch_core.simulation import (
    Completed,
    Failed,
    Mark,
    Never,
    Plan,
    Retries,
    Simulation,
    Spread,
)
from vsbatch_core.simulation.machine import Known, Work


def simulation_of(plan: Plan | None = None, files: int = 3, **more: Any) -> Simulation:
    """A simulation with batch number 1 of files ``0``, ``1``, … in its one store."""
    simulation = Simulation(plan=plan or Plan(workers=1, service=3), **more)
    stores = simulation.engine.vector_stores
    stores.file_batches.create(stores.create().id, file_ids=[str(i) for i in range(files)])
    return simulation


def batch_of(simulation: Simulation) -> Any:
    store = simulation.engine.vector_stores.list().data[0]
    batch_id = simulation.engine.view.batch_of(store.id, 0)
    assert batch_id is not None
    return simulation.engine.vector_stores.file_batches.retrieve(batch_id, vector_store_id=store.id)


def cancel(simulation: Simulation) -> Any:
    batch = batch_of(simulation)
    batches = simulation.engine.vector_stores.file_batches
    return batches.cancel(batch.id, vector_store_id=batch.vector_store_id)


# Time


@pytest.mark.parametrize("seconds", [0, 0.1, 2.999, 3, 3.5, 6, 100])
def test_advance_does_all_that_is_due_and_stops_exactly_there(seconds: float) -> None:
    simulation = simulation_of()
    start = simulation.clock.time()
    answered = simulation.advance(seconds)
    assert simulation.clock.time() == start + seconds
    assert answered == simulation.now == simulation.clock.time() - start
    assert batch_of(simulation).file_counts.completed == min(3, seconds // 3)


@given(st.lists(st.sampled_from([0, 0.5, 1, 2.75, 4]), max_size=8))
def test_many_small_advances_are_one_large_one(parts: list[float]) -> None:
    one, many = simulation_of(), simulation_of()
    one.advance(sum(parts))
    for part in parts:
        many.advance(part)
    assert one.engine.snapshot() == many.engine.snapshot()


def test_run_goes_to_a_time_or_until_a_question_is_answered_or_until_nothing_is_left() -> None:
    simulation = simulation_of()
    assert simulation.run(until=4) == 4
    assert simulation.run(until=lambda: batch_of(simulation).file_counts.completed == 2) == 6
    assert simulation.run(until=lambda: False) == 9
    assert simulation.run() == simulation.run_until_idle() == 9
    assert simulation.run(until=9) == 9


@pytest.mark.parametrize("name", ["advance", "at", "every"])
@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan"), float("inf")])
def test_time_does_not_go_back_and_a_delay_that_cannot_be_is_refused_where_it_is_scheduled(
    name: str, seconds: float
) -> None:
    simulation = simulation_of()
    arguments = (seconds,) if name == "advance" else (seconds, lambda: None)
    with pytest.raises(ValueError, match="time does not go back"):
        getattr(simulation, name)(*arguments)
    assert simulation.now == 0
    assert simulation.run_until_idle() == 9


@pytest.mark.parametrize("until", [2, float("nan"), float("inf")])
def test_run_refuses_a_time_in_the_past(until: float) -> None:
    simulation = simulation_of()
    simulation.advance(3)
    with pytest.raises(ValueError, match="Give a later time"):
        simulation.run(until=until)


def test_what_is_no_number_or_no_act_is_refused() -> None:
    simulation = simulation_of()
    for wrong in ("3", None, True):
        with pytest.raises(TypeError, match="number of seconds"):
            simulation.at(wrong, lambda: None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Write lambda"):
        simulation.at(3, "cancel")  # type: ignore[arg-type]
    for least in (0, 1e-300):
        with pytest.raises(ValueError, match="time would stand still"):
            simulation.every(least, lambda: None)


def test_a_recurring_act_goes_on_where_the_clock_can_no_longer_tell_its_turns_apart() -> None:
    simulation, beats = Simulation(Engine(clock=VirtualClock(0))), []
    simulation.every(1, lambda: beats.append(simulation.now))
    simulation.clock.advance(2.0**60)
    for _ in range(3):
        simulation.step()
    assert len(beats) == len(set(beats)) == 3


def test_an_act_comes_after_what_ends_and_before_what_begins_at_its_instant() -> None:
    simulation = simulation_of()
    simulation.at(3, lambda: cancel(simulation))
    simulation.run()
    counts = batch_of(simulation).file_counts
    assert (counts.completed, counts.cancelled, simulation.report.wait.count) == (1, 2, 1)


def test_acts_at_one_instant_come_in_the_order_in_which_they_were_scheduled() -> None:
    simulation, done = Simulation(), []
    for n in range(5):
        simulation.at(2, lambda n=n: done.append(n))
    simulation.at(1, lambda: simulation.at(1, lambda: done.append("last")))
    simulation.run()
    assert done == [0, 1, 2, 3, 4, "last"]


def test_an_act_that_was_cancelled_does_not_happen_and_takes_no_time() -> None:
    simulation, done = Simulation(), []
    stop = simulation.at(5, lambda: done.append("cancelled"))
    simulation.at(2, lambda: done.append("done"))
    stop()
    stop()
    assert simulation.run() == 2
    assert done == ["done"]
    late = simulation.at(0, lambda: done.append("again"))
    simulation.run()
    late()
    assert simulation.idle
    assert done == ["done", "again"]


def test_a_recurring_act_keeps_its_beat_until_it_is_cancelled_and_nobody_waits_for_it() -> None:
    simulation = simulation_of(files=1)
    beats: list[float] = []
    stop = simulation.every(1, lambda: beats.append(simulation.now))
    assert simulation.run_until_idle() == 3
    assert beats[:2] == [1, 2]
    simulation.advance(2.5)
    assert beats == [1, 2, 3, 4, 5]
    stop()
    stop()
    simulation.advance(10)
    assert beats == [1, 2, 3, 4, 5]
    assert not simulation.step()


def test_a_recurring_act_can_stop_itself_and_goes_on_if_it_raises() -> None:
    simulation = Simulation()
    beats: list[float] = []

    def beat() -> None:
        beats.append(simulation.now)
        if len(beats) == 3:
            stop()
        raise LookupError("beat")

    stop = simulation.every(2, beat)
    for _ in range(3):
        with pytest.raises(LookupError):
            simulation.step()
    assert not simulation.step()
    assert beats == [2, 4, 6]


def test_an_act_may_let_time_pass_itself() -> None:
    simulation = simulation_of()
    beats: list[float] = []

    def patient() -> None:
        beats.append(simulation.now)
        simulation.advance(2.5)

    simulation.every(1, patient)
    assert simulation.advance(4) == 6.5
    assert beats == [1, 4]


def test_a_cancelled_act_does_not_hold_a_recurring_one_up() -> None:
    simulation, beats = Simulation(), []
    simulation.every(1, lambda: beats.append(simulation.now))
    simulation.at(50, lambda: None)()
    assert simulation.run_until_idle() == 0
    assert beats == []


def test_after_it_is_closed_nothing_happens_but_time() -> None:
    with simulation_of(record=True) as simulation:
        simulation.at(1, lambda: cancel(simulation))
        simulation.every(1, lambda: cancel(simulation))
        simulation.step()
    assert simulation.idle
    assert simulation.advance(10) == 10
    assert batch_of(simulation).file_counts.in_progress == 3
    assert [row.busy for row in simulation.timeline.rows] == [1]


# One seed

SCRIPT = """
import json
from vsbatch_core import wire
from vsbatch_core.simulation import *
for order in ("fifo", "lifo", "random", "smallest"):
    plan = Plan(workers=3, service=Lognormal(2.0, 1.0), failures={"server_error": 0.3, "invalid_file": 0.1},
                retries=2, order=order, cancel="drain", size=lambda file: hash(len(file.id)) + 1)
    simulation = Simulation(seed=5, plan=plan, record=True)
    simulation.engine.subscribe(lambda event: print(json.dumps(wire.to_wire(event))))
    stores = simulation.engine.vector_stores
    store = stores.create(metadata={"b": "1", "a": "2"})
    ids = {f"file-{i}" for i in range(40)}
    batches = [stores.file_batches.create(store.id, file_ids=sorted(ids)[i : i + 20]) for i in (0, 20)]
    simulation.at(4, lambda: stores.file_batches.cancel(batches[0].id, vector_store_id=store.id))
    simulation.at(5, lambda: stores.files.create(store.id, file_id="file-7"))
    simulation.every(3, lambda: simulation.polled(batches[1]))
    simulation.run_until_idle()
    simulation.engine.check()
    print(json.dumps(simulation.engine.snapshot()), simulation.timeline.to_json(), simulation.report)
"""


def log(seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.slow
def test_the_same_seed_tells_the_same_bytes_in_any_process() -> None:
    one = log("1")
    assert one == log("2")
    assert re.search(r'"left_running": \[\d', one)


def test_another_seed_tells_another_story_and_the_order_changes_no_fate() -> None:
    def fates(seed: int, order: Any) -> dict[str, str]:
        simulation = simulation_of(Plan(workers=1, failures={"invalid_file": 0.5}, order=order), 40, seed=seed)
        simulation.run()
        store = simulation.engine.vector_stores.list().data[0]
        return {file.id: file.status for file in simulation.engine.vector_stores.files.list(store.id, limit=100)}

    assert fates(1, "fifo") == fates(1, "fifo") != fates(2, "fifo")
    assert sorted(fates(1, "random").values()) == sorted(fates(1, "fifo").values())


# Drain


def test_under_drain_what_is_picked_up_finishes_and_the_rest_is_cancelled_at_once() -> None:
    simulation = simulation_of(Plan(workers=2, service=3, cancel="drain"), 5, record=True)
    simulation.at(1, lambda: cancel(simulation))
    simulation.advance(2)
    batch = batch_of(simulation)
    assert (batch.status, batch.file_counts.in_progress, batch.file_counts.cancelled) == ("in_progress", 2, 3)
    assert simulation.run() == 3
    assert batch_of(simulation).status == "cancelled"
    assert batch_of(simulation).file_counts.completed == 2
    assert simulation.timeline.marks == [Mark(1, "drain", batch.id)]


def test_a_file_that_is_to_be_tried_again_counts_as_picked_up() -> None:
    plan = Plan(script={"0": [Failed("server_error"), Completed()]}, retries=1, cancel="drain", workers=1)
    simulation = simulation_of(plan, 1)
    simulation.at(1.5, lambda: cancel(simulation))
    assert simulation.run() == 3
    assert batch_of(simulation).file_counts.completed == 1


def test_a_file_cancelled_while_it_waits_to_be_tried_again_is_not_and_time_does_not_wait_for_it() -> None:
    plan = Plan(decide=lambda _: Failed("server_error"), retries=Retries(3, first=100), service=1)
    simulation = simulation_of(plan, 2)
    simulation.at(5, lambda: cancel(simulation))
    assert simulation.run() == 5
    assert simulation.report.retried == 2


def test_a_simulation_takes_over_what_another_holds() -> None:
    first = simulation_of(Plan(workers=2, service=9, cancel="drain"))
    first.step()
    first.close()
    second = Simulation(first.engine, plan=Plan(service=1))
    second.run()
    assert batch_of(second).status == "completed"


def test_the_plans_cancel_must_be_what_the_engine_does() -> None:
    engine = Engine(clock=VirtualClock())
    with pytest.raises(ValueError, match=r"Profile\(cancel='drain'\)"):
        Simulation(engine, plan=Plan(cancel="drain"))
    drained = Engine(clock=VirtualClock(), profile=Profile(cancel="drain"))
    with pytest.raises(ValueError, match=r"Profile\(cancel='immediate'\)"):
        Simulation(drained, plan=Plan(cancel="immediate"))
    assert Simulation(drained, plan=Plan()).engine is drained


# Polls


def test_a_batch_ends_at_the_poll_that_the_plan_says() -> None:
    plan = Plan.after_polls(3, script={"1": Failed("unsupported_file"), "2": Never()})
    simulation = simulation_of(plan)
    assert simulation.run() == 0
    shown = [simulation.polled(batch_of(simulation)) for _ in range(3)]
    assert [batch.file_counts.in_progress for batch in shown] == [3, 3, 1]
    assert (shown[-1].file_counts.completed, shown[-1].file_counts.failed) == (1, 1)
    assert simulation.report.polls == {shown[0].id: 3}


def test_a_file_ends_at_its_own_polls_and_those_of_others_do_not_count() -> None:
    simulation = simulation_of(Plan.after_polls(2))
    files = simulation.engine.vector_stores.files
    store = simulation.engine.vector_stores.list().data[0].id
    one, other = (files.retrieve(id, vector_store_id=store) for id in ("0", "1"))
    assert simulation.polled(one).status == "in_progress"
    assert simulation.polled(other).status == "in_progress"
    assert simulation.polled(one).status == "completed"
    files.create(store, file_id="0")
    assert simulation.polled(one).status == "in_progress"  # a new attachment, polled for the first time
    assert simulation.report.polls == {}


def test_polls_are_counted_up_to_the_one_that_saw_the_end() -> None:
    simulation = simulation_of(Plan(workers=None, service=3))
    seen = []
    for _ in range(6):
        seen.append(simulation.polled(batch_of(simulation)).status)
        simulation.advance(1)
    assert seen == ["in_progress"] * 3 + ["completed"] * 3
    assert list(simulation.report.polls.values()) == [4]


def test_a_poll_sees_what_is_due_now_and_one_of_what_is_gone_is_not_found() -> None:
    simulation = simulation_of(Plan.immediate())
    batch = batch_of(simulation)
    assert batch.status == "in_progress"
    assert simulation.polled(batch).status == "completed"
    simulation.engine.vector_stores.delete(batch.vector_store_id)
    with pytest.raises(errors.VectorStoreNotFound):
        simulation.polled(batch)


def test_a_deleted_store_leaves_nothing_behind_in_a_simulation() -> None:
    simulation = simulation_of(
        Plan(workers=2, script={"0": Never(), "1": Failed("server_error")}, retries=Retries(times=9)), files=5
    )
    stores, batch = simulation.engine.vector_stores, batch_of(simulation)
    kept = stores.file_batches.create(stores.create().id, file_ids=["kept"])
    file = stores.files.retrieve("0", vector_store_id=batch.vector_store_id)
    simulation.run(
        until=lambda: stores.files.retrieve("4", vector_store_id=file.vector_store_id).status == "completed"
    )
    for looked_at in (batch, file, stores.files.retrieve("4", vector_store_id=file.vector_store_id), kept):
        simulation.polled(looked_at)
        simulation.polled(looked_at)
    assert simulation.report.polls == {batch.id: 2, kept.id: 2}

    def mentions(value: Any) -> bool:
        """Whether what the simulation holds names the store anywhere: in keys, values, or what they hold."""
        if isinstance(value, (dict, set, list, tuple, deque)):
            items = [*value, *value.values()] if isinstance(value, dict) else value
            return any(map(mentions, items))
        if isinstance(value, Known):
            return mentions([getattr(value, name) for name in value.__slots__])
        if isinstance(value, Work):
            return mentions(vars(value))
        return bool(value == file.vector_store_id)

    assert mentions(vars(simulation))
    stores.delete(file.vector_store_id)
    simulation.run()
    assert not mentions(vars(simulation))
    assert simulation.report.polls == {kept.id: 2}


def test_a_plan_that_ends_another_file_when_it_is_asked_at_a_poll_is_not_surprised() -> None:
    def decide(file: Any) -> Any:
        if file.id == "0":
            cancel(simulation)
        return Completed()

    simulation = simulation_of(Plan.after_polls(1, decide=decide))
    assert simulation.polled(batch_of(simulation)).file_counts.cancelled == 3


# The other named plans


def test_after_seconds_every_file_takes_that_long_however_many_there_are() -> None:
    simulation = simulation_of(Plan.after_seconds(7.5), 50)
    assert simulation.run() == 7.5
    assert simulation.report.utilisation is None
    assert repr(simulation).endswith("0 of any number workers busy>")


def test_by_hand_nothing_happens_to_files_but_what_the_host_does() -> None:
    simulation = simulation_of(Plan.manual())
    store = simulation.engine.vector_stores.list().data[0].id
    simulation.at(4, lambda: simulation.engine.processing.complete(store, "1"))
    assert simulation.run() == 4
    simulation.advance(1000)
    assert batch_of(simulation).file_counts.in_progress == 2
    assert simulation.report.makespan == 4


# Never


def test_a_file_that_never_ends_stays_in_progress_and_blocks_nothing() -> None:
    simulation = simulation_of(Plan(workers=1, script={"0": Never()}))
    assert simulation.run_until_idle() == 2
    assert (batch_of(simulation).status, batch_of(simulation).file_counts.completed) == ("in_progress", 2)
    assert simulation.busy == 0
    simulation.advance(1e9)
    assert batch_of(simulation).file_counts.in_progress == 1


def test_a_file_that_never_ends_may_hold_its_worker_until_it_is_cancelled() -> None:
    simulation = simulation_of(Plan(workers=1, script={"0": Never(holds_worker=True)}))
    simulation.every(1, lambda: None)
    assert simulation.run_until_idle() == 0
    assert (simulation.busy, batch_of(simulation).file_counts.in_progress) == (1, 3)
    store = simulation.engine.vector_stores.list().data[0].id
    simulation.advance(2)
    simulation.engine.vector_stores.files.delete("0", vector_store_id=store)
    assert simulation.run_until_idle() == 4
    assert simulation.report.utilisation == 1


# Made inside a subscriber


def test_a_simulation_that_is_made_inside_a_subscriber_takes_each_file_on_once() -> None:
    engine = Engine(clock=VirtualClock())
    made: list[Simulation] = []

    def make(event: events.Event) -> None:
        if isinstance(event, events.FileBatchCreated) and not made:
            engine.vector_stores.files.create(event.vector_store_id, file_id="untold")
            engine.vector_stores.create(file_ids=["elsewhere"])
            engine.vector_stores.delete(engine.vector_stores.create(file_ids=["gone"]).id)
            made.append(Simulation(engine, plan=Plan(workers=1)))

    engine.subscribe(make)
    store = engine.vector_stores.create()
    engine.vector_stores.file_batches.create(store.id, file_ids=["0", "1"])
    (simulation,) = made
    assert simulation.run() == 4
    assert simulation.report.ended == 4


def test_a_store_that_a_subscriber_deletes_before_it_is_heard_of_is_passed_over() -> None:
    engine = Engine(clock=VirtualClock())
    engine.subscribe(lambda event: event.kind == "vector_store.created" and delete(event.vector_store_id))
    delete = engine.vector_stores.delete
    simulation = Simulation(engine, record=True)
    store = engine.vector_stores.create(file_ids=["0"])
    assert engine.view.next_attachment(store.id) == 0
    assert simulation.run() == 0
    assert simulation.timeline.rows == []


# Timeline and report


def test_the_timeline_has_a_row_for_each_instant_at_which_a_batch_changed() -> None:
    simulation = simulation_of(Plan(workers=2, service=3), record=True)
    id = batch_of(simulation).id
    simulation.run()
    rows = [(row.time, row.in_progress, row.completed, row.total, row.busy) for row in simulation.timeline.rows]
    assert rows == [(0, 3, 0, 3, 2), (3, 1, 2, 3, 1), (6, 0, 3, 3, 0)]
    assert {row.batch_id for row in simulation.timeline.rows} == {id}


def test_a_look_at_the_timeline_in_the_midst_of_an_instant_does_not_change_what_it_comes_to() -> None:
    looked, plain = (simulation_of(Plan(workers=2, service=3), record=True) for _ in range(2))
    looked.run(until=lambda: not looked.timeline.rows)
    plain.run()
    assert looked.timeline.to_csv() == plain.timeline.to_csv()


def test_the_timeline_sees_what_leaves_a_batch_and_what_marks_are_made() -> None:
    simulation = simulation_of(Plan.manual(), record=True)
    batch = batch_of(simulation)
    stores = simulation.engine.vector_stores
    simulation.at(1, lambda: stores.files.delete("0", vector_store_id=batch.vector_store_id))
    simulation.at(2, lambda: stores.files.create(batch.vector_store_id, file_id="1"))
    simulation.at(3, lambda: stores.file_batches.create(batch.vector_store_id, file_ids=["1", "x"]))
    simulation.at(4, lambda: cancel(simulation))
    simulation.at(5, lambda: simulation.timeline.mark("fault", note="500", at=simulation.clock.time()))
    simulation.at(6, lambda: stores.files.create(batch.vector_store_id, file_id="x"))
    simulation.run()
    rows = [(row.time, row.in_progress, row.cancelled) for row in simulation.timeline.rows]
    assert [row for row in rows if row[0] < 3] == [(0, 3, 0), (1, 2, 1), (2, 1, 2)]
    assert [row for row in rows if row[0] >= 3] == [(3, 2, 0), (4, 0, 3), (6, 1, 1)]
    simulation.timeline.mark("end")
    assert simulation.timeline.marks == [
        Mark(4, "cancel", batch.id),
        Mark(5, "fault", None, "500"),
        Mark(6, "end"),
    ]
    stores.file_batches.create(batch.vector_store_id, file_ids=["y"])
    stores.delete(batch.vector_store_id)
    assert simulation.timeline.rows[-1].time == 6


def test_csv_and_json_say_the_same_as_the_rows() -> None:
    simulation = simulation_of(record=True)
    simulation.at(4, lambda: cancel(simulation))
    simulation.run()
    timeline = simulation.timeline
    read = list(csv.DictReader(io.StringIO(timeline.to_csv())))
    data = json.loads(timeline.to_json())
    assert len(read) == len(timeline.rows) == len(data["rows"]) == 3
    assert read == [{key: str(value) for key, value in row.items()} for row in data["rows"]]
    assert data["marks"] == [{"time": 4.0, "kind": "cancel", "batch_id": batch_of(simulation).id, "note": ""}]


def test_without_being_asked_to_it_records_no_timeline_and_says_how_to_ask() -> None:
    with pytest.raises(ValueError, match="record=True"):
        _ = simulation_of().timeline


def test_the_report_of_nothing_is_nothing() -> None:
    report = Simulation().report
    assert (report.makespan, report.throughput, report.utilisation) == (0, 0, 0)
    assert report.wait == Spread(count=0, mean=0, p50=0, p90=0, p99=0, most=0)


def test_the_report_says_how_long_files_waited_and_were_served() -> None:
    simulation = simulation_of(Plan(workers=1, service=2), 10)
    simulation.advance(5)
    assert simulation.report.utilisation == 1
    simulation.run()
    report = simulation.report
    assert (report.ended, report.makespan, report.throughput, report.utilisation) == (10, 20, 0.5, 1)
    assert report.wait == Spread(count=10, mean=9, p50=8, p90=16, p99=18, most=18)
    assert report.service == Spread(count=10, mean=2, p50=2, p90=2, p99=2, most=2)


@pytest.mark.parametrize("finish", ["complete_many", "fail_many"])
def test_files_that_the_host_ends_in_one_step_free_their_workers_and_are_in_the_timeline(finish: str) -> None:
    simulation = simulation_of(Plan(workers=2, service=10), 4, record=True)
    simulation.advance(3)
    store = simulation.engine.vector_stores.list().data[0]
    getattr(simulation.engine.processing, finish)(store.id, ["0", "1", "3"])
    simulation.run_until_idle()
    counts = batch_of(simulation).file_counts
    ended = {"complete_many": (4, 0), "fail_many": (1, 3)}[finish]
    assert (counts.in_progress, counts.completed, counts.failed) == (0, *ended)
    assert simulation.now == 13  # the one that is left begins at 3, when a worker is free
    assert simulation.timeline.rows[-2].in_progress == 1

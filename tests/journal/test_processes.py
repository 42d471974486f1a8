"""Engines in several processes: forks at any moment, and followers that miss nothing of what others do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsbatch_core import Engine, SequentialIds, VirtualClock, events
from vsbatch_core.errors import EventsForgotten, VectorStoreNotFound
from vsbatch_core.events import version_in

from ..helpers.databases import START, Where, filled, opened, store_id, url_of
from ..helpers.processes import SEARCH, posix


def forked(act: Callable[[], object]) -> int:
    """Call ``act`` in a child process, which ends then; return the child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads are what these tests are about
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> int:
    """Wait for a child, at most a minute; return its exit status."""
    for _ in range(6_000):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return 0
        sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1


# Two engines on one file


def test_each_engine_sees_what_the_other_did_at_once(where: Where) -> None:
    with filled(where) as one, opened(where) as two:
        for i in range(20):
            writer, reader = (one, two) if i % 2 else (two, one)
            made = writer.vector_stores.create(name=f"{i}")
            assert reader.vector_stores.retrieve(made.id) == made
            reader.vector_stores.delete(made.id)
            assert made.id not in writer.view.vector_store_ids()
            assert one.snapshot() == two.snapshot()


def test_a_subscriber_hears_what_others_did_at_the_next_call_in_order_and_once(where: Where) -> None:
    with filled(where) as one, opened(where) as two:
        heard: dict[str, list[events.Event]] = {"one": [], "two": []}
        one.subscribe(heard["one"].append)
        two.subscribe(heard["two"].append)
        docs = store_id(one)
        one.vector_stores.files.create(docs, file_id="file-x")
        assert len(heard["one"]) == 1
        assert heard["two"] == []
        two.vector_stores.retrieve(docs)
        assert heard["two"] == heard["one"]
        two.processing.complete(docs, "file-x", usage_bytes=1)
        one.vector_stores.list()
        one.vector_stores.files.create(docs, file_id="file-y")
        two.vector_stores.list()
        assert heard["one"] == heard["two"]
        assert [event.version for event in heard["one"]] == [one.version(docs) - 2 + i for i in range(3)]


ACTS = st.sampled_from(["one", "two", "delete", "compact", "look", "follow a store", "follow the list"])


class Follower:
    """What an engine calls with the events that follow a version; ``None`` for the list of stores."""

    def __init__(self, engine: Engine, store: str | None, after: int) -> None:
        self.engine, self.store, self.after = engine, store, after
        self.versions: list[int] = []
        engine.follow(self.hear, store, after=after)
        self.loads = self.snapshots_loaded()

    def hear(self, event: events.Event) -> None:
        self.versions.append(version_in(self.store, event) or 0)

    def snapshots_loaded(self) -> int:
        return self.engine._registry._restore.calls  # type: ignore[attr-defined,no-any-return]

    def check(self) -> None:
        """Require that no event is missing, but for those that were pruned before the engine saw them."""
        assert self.versions == sorted(set(self.versions))
        if self.loads == self.snapshots_loaded():
            assert self.versions == list(range(self.after + 1, self.engine.version(self.store) + 1))


@given(acts=st.lists(ACTS, max_size=30))
def test_a_follower_from_any_version_misses_nothing_and_hears_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, acts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("law") / "a.db"
    ids = SequentialIds()
    with opened(path, ids=ids) as one, opened(path, ids=ids) as two:
        count_restores(one)
        docs = one.vector_stores.create().id
        followers: list[Follower] = []
        attached: list[str] = []
        for act in acts:
            if act in ("one", "two"):
                attached.append(f"file-{len(attached)}")
                (one if act == "one" else two).vector_stores.files.create(docs, file_id=attached[-1])
            elif act == "delete" and attached:
                two.vector_stores.files.delete(attached.pop(), vector_store_id=docs)
            elif act == "compact":
                two.vector_stores.create()
                two.compact()
            elif act == "look":
                one.vector_stores.list()
            elif act.startswith("follow"):
                store = docs if act == "follow a store" else None
                version = one.version(store)
                for after in {version, max(0, version - 2), 0}:
                    try:
                        followers.append(Follower(one, store, after))
                    except EventsForgotten:
                        assert after < version
        assert one.snapshot() == two.snapshot()
        for follower in followers:
            follower.check()


def count_restores(engine: Engine) -> None:
    """Have an engine count the snapshots that it loads."""
    restore = engine._registry._restore  # type: ignore[attr-defined]

    def counted(seq: int) -> None:
        counted.calls += 1  # type: ignore[attr-defined]
        restore(seq)

    counted.calls = 0  # type: ignore[attr-defined]
    engine._registry._restore = counted  # type: ignore[attr-defined]


def test_what_others_write_while_the_log_is_read_back_comes_once_and_in_order(where: Where) -> None:
    with filled(where) as one, opened(where) as two:
        docs = store_id(one)
        heard: list[int] = []

        def hear(event: events.Event) -> None:
            heard.append(version_in(docs, event) or 0)
            if len(heard) in (1, 3, 5):
                two.vector_stores.files.create(docs, file_id=f"file-{len(heard)}x")

        one.follow(hear, docs, after=0)
        two.vector_stores.files.create(docs, file_id="file-z")
        one.vector_stores.list()
        assert heard == list(range(1, two.version(docs) + 1))


def test_events_are_read_back_as_they_were_delivered(where: Where) -> None:
    with opened(where) as engine:
        heard: list[events.Event] = []
        engine.subscribe(heard.append)
        docs = engine.vector_stores.create(file_ids=["file-a"]).id
        other = engine.vector_stores.create().id
        engine.processing.complete(docs, "file-a", usage_bytes=3)
        engine.vector_stores.delete(other)
        for store in (docs, None):
            expected = [event for event in heard if version_in(store, event) is not None]
            for after in range(len(expected) + 1):
                assert list(engine.events(store, after=after)) == expected[after:]
        assert list(engine.events(docs, after=100)) == []
        deleted = [event for event in heard if version_in(other, event) is not None]
        assert list(engine.events(other)) == deleted
        assert len(deleted) == 2
        with pytest.raises(VectorStoreNotFound):
            list(engine.events("vs_unknown"))


# Forks


@contextmanager
def busy(engine: Engine, docs: str, threads: int = 3) -> Iterator[None]:
    """Have threads attach files meanwhile."""
    stop = Event()

    def work(name: int) -> None:
        n = 0
        while not stop.is_set():
            n += 1
            engine.vector_stores.files.create(docs, file_id=f"file-{os.getpid()}-{name}-{n}")

    running = [Thread(target=work, args=(name,)) for name in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in running:
            thread.join()


@posix
@pytest.mark.slow
def test_a_process_forked_in_the_midst_of_use_and_its_parent_go_on_side_by_side(where: Where) -> None:
    def child() -> None:
        for i in range(5):
            engine.vector_stores.files.create(docs, file_id=f"file-{os.getpid()}-{i}")
            assert engine.vector_stores.files.retrieve(f"file-{os.getpid()}-{i}", vector_store_id=docs)
        engine.check()
        engine.compact()
        engine.close()

    with opened(where) as engine:
        docs = engine.vector_stores.create().id
        children = []
        with busy(engine, docs):
            for _ in range(8):
                sleep(0.01)
                children.append(forked(child))
            statuses = [ended(child) for child in children]
        assert statuses == [0] * 8
        files = {f"file-{child}-{i}" for child in children for i in range(5)}
        assert all(engine.view.attachments(docs, file) for file in files)
        engine.check()
        with opened(where) as other:
            assert other.snapshot() == engine.snapshot()


@posix
@pytest.mark.slow
@pytest.mark.parametrize("within", ["callback", "hold", "clock", "ids"])
def test_a_process_forked_within_a_call_and_its_parent_go_on_side_by_side(where: Where, within: str) -> None:
    children: list[int] = []
    engines: list[Engine] = []
    usual = SequentialIds()

    def fork() -> None:
        if engines and not children:
            children.append(0)
            children[0] = forked(child)

    def child() -> None:
        if within in ("callback", "hold"):  # not in the midst of a transaction, which is the parent's
            engines[0].vector_stores.create(name="of the child")
            with opened(where) as other:
                other.vector_stores.create(name="of another")

    class Forking(VirtualClock):
        def time(self) -> float:
            if within == "clock":
                fork()
            return super().time()

    def ids(prefix: str) -> str:
        if within == "ids":
            fork()
        return f"{usual(prefix)}-{os.getpid()}"

    with opened(where, clock=Forking(START), ids=ids) as engine:
        engines.append(engine)
        if within == "callback":
            engine.subscribe(lambda _event: fork())
        if within == "hold":
            with engine.view.hold():
                fork()
        engine.vector_stores.create(name="of the parent")
        assert ended(children[0]) == 0
        names = [store.name for store in engine.vector_stores.list().data]
        expected = ["of the parent"]
        if within in ("callback", "hold"):
            expected += ["of the child", "of another"]
        assert sorted(names) == sorted(expected)
        with opened(where) as other:
            assert other.snapshot() == engine.snapshot()


# Ctrl-C, really

INTERRUPTED = """
import signal, sys, threading
from random import Random
from vsbatch_core import Engine

class Alarm(KeyboardInterrupt):
    pass

def ring(_number, _frame):
    raise Alarm

url, seed = sys.argv[1:]
random = Random(int(seed))
engine = Engine.open(url, durability="normal")
docs = engine.vector_stores.create().id
done, stop, failed = [], threading.Event(), []

def attach(name):
    n = 0
    while not stop.is_set():
        n += 1
        try:
            engine.vector_stores.files.create(docs, file_id=f"file-{name}-{n}")
        except BaseException as error:
            failed.append(repr(error))
            raise
        done.append(f"file-{name}-{n}")

threads = [threading.Thread(target=attach, args=(name,)) for name in "abc"]
for thread in threads:
    thread.start()
signal.signal(signal.SIGALRM, ring)
interrupted, given = 0, 0
while interrupted < 60:
    given += 1
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.006))
        engine.vector_stores.files.create(docs, file_id=f"file-main-{given}")
        signal.setitimer(signal.ITIMER_REAL, 0)
        done.append(f"file-main-{given}")
    except Alarm:
        interrupted += 1
stop.set()
for thread in threads:
    thread.join(60)
    assert not thread.is_alive(), "it hangs"
assert not failed, failed
engine.check()
attached = [event.file_id for event in engine.events(docs, after=1)]
assert len(attached) == len(set(attached)), "doubled"
assert set(done) <= set(attached), "lost"
others = {file for file in attached if "main" not in file}
assert others == {file for file in done if "main" not in file}, "others do not know of what they did"
print(interrupted, given, len(done))
"""


@posix
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_thread_that_signals_interrupt_anywhere_loses_and_doubles_nothing_and_nobody_hangs(
    where: Where, seed: int
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, url_of(where), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, "PYTHONPATH": SEARCH},
    )
    assert run.returncode == 0, run.stderr
    interrupted, given, done = map(int, run.stdout.split())
    assert interrupted == 60 <= given
    assert done > 0

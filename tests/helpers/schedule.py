"""Threads whose interleaving a random number generator decides: one runs at a time, and hands over where it
pauses.

A ``Schedule`` runs tasks in threads of their own.  A task goes on until it pauses: before each call of a
fake log and before each lock that it takes.  Which task goes on then is drawn, so equal seeds lead to equal
runs.  Time-outs do not depend on time either: a wait times out if nothing else can go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Self


class Crash(BaseException):
    """The simulated process has ended: raised in each of its threads."""


class Deadlock(BaseException):
    """Nothing can go on."""


class Task:
    """A thread of a simulated process; ``is_dead`` says whether the process has ended."""

    def __init__(self, work: Callable[[], None], is_dead: Callable[[], bool]) -> None:
        self.work = work
        self.is_dead = is_dead
        self.baton = threading.Semaphore(0)
        self.ready: Callable[[], bool] | None = None
        """What it waits for; ``None`` if for nothing."""
        self.timed = False
        """Whether the wait may time out."""
        self.step: int | None = None
        """The number of the step that it is at."""
        self.error: BaseException | None = None

    def can_go_on(self) -> bool:
        return self.ready is None or self.is_dead() or self.ready()


class Schedule:
    """Runs tasks, one at a time."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.current: Task | None = None
        self.timeouts = 0
        """How many waits timed out."""
        self._tasks: list[Task] = []
        self._over = threading.Semaphore(0)
        self._deadlock = False

    def run(self, tasks: list[Task]) -> None:
        """Run tasks to their ends; raise ``Deadlock``, or what ended one of them, unless ``Crash`` did."""
        self._tasks = list(tasks)
        self._deadlock = False
        threads = [threading.Thread(target=self._run, args=(task,), daemon=True) for task in tasks]
        for thread in threads:
            thread.start()
        if tasks:
            self._hand_over()
            self._over.acquire()
        for thread in threads:
            thread.join()
        self.current = None
        for task in tasks:
            if task.error is not None:
                raise task.error

    def _run(self, task: Task) -> None:
        task.baton.acquire()
        try:
            task.work()
        except Crash:
            pass  # the end of a task like another
        except BaseException as error:  # noqa: BLE001 - ``run`` raises it
            task.error = error
        self._tasks.remove(task)
        if self._tasks:
            self._hand_over()
        else:
            self._over.release()

    def _hand_over(self) -> None:
        """Have a task go on."""
        able = [task for task in self._tasks if task.can_go_on()]
        if not able:
            able = [task for task in self._tasks if task.timed]
            self.timeouts += bool(able)
        if not able:
            self._deadlock = True
            able = self._tasks
        chosen = self.random.choice(able)
        self.current = chosen
        chosen.baton.release()

    def pause(self, ready: Callable[[], bool] | None = None, *, timed: bool = False) -> bool:
        """Let others go on, and return when ``ready`` returns true, or false if the wait timed out.

        Outside a task nothing else goes on: return at once, or raise ``Deadlock``.
        """
        task = self.current
        if task is None:
            able = ready is None or ready()
            if not able and not timed:
                raise Deadlock("nothing goes on that could end this wait")
            return able
        task.ready, task.timed = ready, timed
        self._hand_over()
        task.baton.acquire()
        if task.is_dead():
            raise Crash
        if self._deadlock:
            raise Deadlock("each thread waits for another")
        able = ready is None or ready()
        task.ready, task.timed = None, False
        return able


class SimulatedLock:
    """``threading.Lock`` or, if it is ``reentrant``, ``threading.RLock``, for the tasks of a schedule."""

    def __init__(
        self, schedule: Schedule, *, reentrant: bool, before_wait: Callable[[], None] = lambda: None
    ) -> None:
        self._schedule = schedule
        self._reentrant = reentrant
        self._before_wait = before_wait
        self._owner: int | None = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = threading.get_ident()
        if self._reentrant and self._owner == me:
            self._depth += 1
            return True
        self._schedule.pause()
        if self._owner is not None:
            if not blocking:
                return False
            self._before_wait()
            if not self._schedule.pause(lambda: self._owner is None, timed=timeout >= 0):
                return False
        self._owner, self._depth = me, 1
        return True

    def release(self) -> None:
        if self._owner is None or (self._reentrant and not self._is_owned()):
            raise RuntimeError("release unlocked lock")
        self._depth -= 1
        if not self._depth:
            self._owner = None

    def _is_owned(self) -> bool:
        return self._owner == threading.get_ident()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

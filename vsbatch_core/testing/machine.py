"""A state machine that drives a subject and the oracle in lockstep, and compares everything after every step.

>>> from hypothesis.stateful import run_state_machine_as_test
>>> class Mine(Lockstep):
...     subject_factory = Subject  # or a class of your own
>>> TestMine = Mine.TestCase  # for pytest and unittest

After each call the two answers must be the same; after a refusal the subject must be what it was before; every
retrieve, every page of every list under every filter, order and pair of cursors, and what is pending must answer
the same; and reading must have changed nothing.  The sizes of the pages take turns, one a step.

A failure prints the shortest history that was found, as a program of plain calls that pastes into a file.  To
find it is a matter of seconds; to shorten it Hypothesis may take minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from vsbatch_core.extras import pip_line

try:
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
except ImportError as error:
    raise ImportError(f"vsbatch_core.testing.machine needs Hypothesis: {pip_line('testing')}") from error

from vsbatch_core.model import Profile
from vsbatch_core.testing import strategies as us
from vsbatch_core.testing.calls import Call, Refusal, all_reads, answer, same, walked, walks
from vsbatch_core.testing.oracle import Oracle
from vsbatch_core.testing.subjects import Subject, World


class Divergence(AssertionError):
    """The subject and the oracle differ; the message is a program that shows it."""


class Comparison:
    """A subject and the oracle, in lockstep.  Nothing here is random: give it calls, and it compares."""

    def __init__(self, factory: Callable[[World], Subject], world: World | None = None) -> None:
        world = world or World()
        self.oracle = Oracle(**world.options())
        self.subject = factory(world)
        self.history: list[Call | None] = []
        """The calls that were given; ``None`` stands for a renewal of the subject."""
        self.settled = False
        """Whether ``settle`` was called since the last call that may change something."""

    def step(self, call: Call, limits: Iterable[int | None]) -> Any:
        """Give the call to both, compare the answers and then everything; return the oracle's answer.

        Return ``None`` if the call cannot be put to the subject.
        """
        call = self.subject.trimmed(call)
        if not self.subject.can_ask(call):
            return None
        self.settled = False
        before = self.subject.state()
        self.oracle.look()  # as the subject was looked at
        noted = self.oracle.noted
        expected = answer(self.oracle, call)
        self._compare(call, self._asked(call, self.subject.ask), expected)
        self.history.append(call)
        due = self.oracle.noted > noted  # what was due has happened, though the call be refused
        if isinstance(expected, Refusal) and not due and self.subject.state() != before:
            raise Divergence(
                self.program(f"# the last call was refused, and yet changed what it was: {before!r}")
            )
        self.look(limits)
        return expected

    def renew(self, limits: Iterable[int | None]) -> None:
        """Have the subject replaced by an equal one; compare everything."""
        self.history.append(None)
        with self._guard(None):
            self.subject.renew()
        if self.subject.renews and not self.subject.keeps_claims:
            self.oracle.restart()
        self.look(limits)

    def look(self, limits: Iterable[int | None]) -> None:
        """Compare all that can be read, pages in these sizes, and look whether reading changed anything."""
        subject, oracle = self.subject, self.oracle
        self.settled = True
        with self._guard(None):
            subject.settle()
        with self._guard("engine.check()"):
            subject.check()
        before = subject.state()
        turn = slice(len(self.history) % subject.reads_one_in, None, subject.reads_one_in)
        for call in list(all_reads(oracle, us.FILES, limits))[turn]:
            if subject.can_ask(call):
                self._compare(call, self._asked(call, subject.read), answer(oracle, call))
        for call in list(walks(oracle))[turn]:
            if not subject.can_ask(call):
                continue
            expected = walked(oracle, call)
            with self._guard(f"list({call!r})"):
                found = subject.walk(call)
            if found != expected:
                raise Divergence(self.program(f"found = list({call!r})", *_assertion(found, expected)))
        if subject.state() != before:
            raise Divergence(self.program(f"# reading all of it changed what it was: {before!r}"))

    def _asked(self, call: Call, ask: Callable[[Call], Any]) -> Any:
        try:
            return ask(call)
        except Exception as error:
            raise Divergence(self.program(repr(call), f"# raises {error!r}")) from error

    @contextmanager
    def _guard(self, line: str | None) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise Divergence(self.program(*([line] if line else []), f"# raises {error!r}")) from error

    def _compare(self, call: Call, found: Any, expected: Any) -> None:
        if same(found, expected):
            return
        if isinstance(expected, Refusal):
            lines = [
                "try:",
                f"    found = {call!r}",
                "except VsbatchError as error:",
                "    found = error.status, error.to_wire()",
                *_assertion(found, (expected.status, expected.body)),
            ]
        elif isinstance(expected, list) and any(isinstance(item, Refusal) for item in expected):
            lines = [
                "from vsbatch_core.testing.calls import Refusal, comparable",
                f"found = comparable({call!r})",
                *_assertion(found, expected),
            ]
        else:
            lines = [f"found = {call!r}", *_assertion(found, expected)]
        raise Divergence(self.program(*lines))

    def program(self, *lines: str) -> str:
        """The history as a program of plain calls; what the subject does before it is read; and these lines."""
        oracle = Oracle(**self.subject.world.options())
        program = self.subject.prologue()
        for call in self.history:
            if call is None:
                program += self.subject.renewal()
                if not self.subject.keeps_claims:
                    oracle.restart()
            elif isinstance(answer(oracle, call), Refusal):
                program += ["with suppress(VsbatchError):", f"    {call!r}"]
            else:
                program.append(repr(call))
        epilogue = self.subject.epilogue() if self.settled else []
        return "\n".join(["the subject and the oracle differ:", "", *program, *epilogue, *lines])


def _assertion(found: object, expected: object) -> list[str]:
    return [f"assert found == {expected!r}, found", f"# it was {found!r}"]


class Lockstep(RuleBasedStateMachine):
    """A random history of calls, good and bad, given to the subject and to the oracle.  Name a subject first."""

    subject_factory: ClassVar[type[Subject]]

    def __init__(self) -> None:
        super().__init__()
        self.comparison: Comparison

    @initialize(
        profile=us.profiles,
        sizes=st.sampled_from((None, us.SIZES)),
        retry=us.retries,
        retention=us.retentions,
        first=us.store_creations,
        opening=us.openings,
    )
    def begin(
        self,
        profile: Any,
        sizes: Any,
        retry: Any,
        retention: Any,
        first: Call,
        opening: list[tuple[Call, int]],
    ) -> None:
        """Begin with a store, and some calls that find it there."""
        factory = type(self).subject_factory
        follows = factory.follows
        followed = Profile(**{name: getattr(profile, name) for name in follows})
        world = World(followed, sizes, retry, retention if factory.purges else None)
        self.comparison = Comparison(factory, world)
        self._step(first)
        for call, aim in opening:
            self._step(us.aimed(call, self.comparison.oracle, aim))

    @rule(call=us.store_creations | us.store_updates | us.store_updates | us.store_deletions)
    def change_stores(self, call: Call) -> None:
        """Make, change or delete a store."""
        self._step(call)

    @rule(call=us.batch_creations | us.attachments, aim=us.aims)
    def attach(self, call: Call, aim: int) -> None:
        """Attach files as a batch, or one."""
        self._step(us.aimed(call, self.comparison.oracle, aim))

    @rule(pick=us.aims)
    def repeat(self, pick: int) -> None:
        """A create that had a key is given again, as by a client that has not heard what became of it."""
        history = [call for call in self.comparison.history if call is not None]
        keyed = [call for call in history if call.kwargs.get("idempotency_key") is not None]
        if keyed:
            self._step(keyed[pick % len(keyed)])

    @rule(call=us.file_updates | us.file_deletions, aim=us.aims)
    def change_files(self, call: Call, aim: int) -> None:
        """Change a file's attributes, or delete it."""
        self._step(us.aimed(call, self.comparison.oracle, aim))

    @rule(call=us.cancellations, aim=us.aims)
    def cancel(self, call: Call, aim: int) -> None:
        """Cancel a batch."""
        self._step(us.aimed(call, self.comparison.oracle, aim))

    @rule(call=us.purges, aim=us.aims)
    def purge(self, call: Call, aim: int) -> None:
        """Batches go that have been finished for long."""
        self._step(us.aimed(call, self.comparison.oracle, aim))

    @rule(calls=st.lists(us.endings, min_size=1, max_size=4), aim=us.aims)
    def finish(self, calls: list[Call], aim: int) -> None:
        """Some files end."""
        for call in calls:
            self._step(us.aimed(call, self.comparison.oracle, aim))

    @rule(call=us.claims)
    def claim(self, call: Call) -> None:
        """A worker claims files."""
        self._step(call)

    @rule(draw=us.uses)
    def use_claims(self, draw: us.Use) -> None:
        """A worker extends, releases or finishes claims, be they held or not."""
        self._step(draw.of(self.comparison.oracle))

    @rule(call=us.moves)
    def move_the_clock(self, call: Call) -> None:
        """Time goes by, or is set back."""
        self._step(call)

    @precondition(lambda self: type(self).subject_factory.checks_arguments)
    @rule(call=us.misuses | us.listings)
    def misuse(self, call: Call) -> None:
        """A call with an argument that is wrong, or may be."""
        self._step(call)

    @precondition(lambda self: type(self).subject_factory.renews)
    @rule()
    def renew(self) -> None:
        """The subject is replaced by an equal one."""
        self.comparison.renew(self._limits())

    def _step(self, call: Call) -> None:
        self.comparison.step(call, self._limits())

    def _limits(self) -> tuple[int | None, ...]:
        return ((1,), (2,), (3,), (None,))[len(self.comparison.history) % 4]

"""The laws as tests of pytest: a class to derive from."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from vsbatch_core.testing.conformance.laws import Law
from vsbatch_core.testing.conformance.probe import Probe
from vsbatch_core.testing.conformance.runner import LAWS, SHARE, run


class Conformance:
    """Every law as a test of its own.

    Derive a class that pytest collects, and say what the client is::

        from vsbatch_core.testing.conformance import Conformance, asgi_client

        class TestMyServer(Conformance):
            @classmethod
            def client(cls):
                return asgi_client(app)  # or openai.OpenAI(base_url=…, api_key=…)

    A broken law fails if it is documented, with ``strict`` also if it is recorded, and shows the program.  One
    that differs without counting is an expected failure, one that was not reached is skipped.  ``budget`` is in
    seconds, ``examples`` is how often a law is tried at most.  ``uploads`` and ``bad_file`` are those of
    ``Probe``.  The stores that were made are deleted, and the client is closed, after the last test.
    """

    strict: ClassVar[bool] = False
    budget: ClassVar[float] = 120.0
    examples: ClassVar[int] = 20
    seed: ClassVar[int] = 0
    uploads: ClassVar[bool | None] = None
    bad_file: ClassVar[tuple[str, bytes] | str | None] = None
    _probe: ClassVar[Any] = None
    _end: ClassVar[float] = 0.0

    @classmethod
    def client(cls) -> Any:
        """The client of the server under test: an ``openai.OpenAI``."""
        raise NotImplementedError(f"{cls.__name__} has to say what its client is: override client()")

    @classmethod
    def probe(cls) -> Probe:
        """The probe of that client; override it to give another clock."""
        return Probe(cls.client(), uploads=cls.uploads, bad_file=cls.bad_file)

    @classmethod
    def setup_class(cls) -> None:
        """Make the probe, and see whether the server answers."""
        cls._probe = cls.probe()
        cls._end = cls._probe.now() + cls.budget
        cls._probe.patience.after_end = min(5.0, cls.budget / 10)
        cls._probe.reach()

    @classmethod
    def teardown_class(cls) -> None:
        """Delete what was made, and close the client."""
        left = cls._probe.clean_up()
        cls._probe.client.close()
        assert not left, f"could not be deleted: {left}"  # noqa: S101 - for pytest

    @pytest.mark.parametrize("law", [pytest.param(law, id=law.id) for law in LAWS])
    def test_law(self, law: Law) -> None:
        """The law holds."""
        probe = self._probe
        probe.patience.deadline = probe.now() + max(0.0, self._end - probe.now()) / SHARE
        verdict = run(law, probe, examples=self.examples, seed=self.seed)
        if verdict.counts(strict=self.strict):
            pytest.fail(f"{law.sentence}\n{verdict.detail}\n\n{verdict.program}", pytrace=False)
        if verdict.outcome == "not reached":
            pytest.skip(f"not reached: {verdict.detail}")
        if verdict.outcome != "ok":
            pytest.xfail(f"{verdict.outcome} ({law.mark}): {verdict.detail}")

"""Laws of the API that are tried on a live server, through the official client and nothing else.

``vsbatch check`` is the command; ``Conformance`` is the same as tests of pytest, for a server written in Python::

    from vsbatch_core.testing.conformance import Conformance, asgi_client

    class TestMyServer(Conformance):
        @classmethod
        def client(cls):
            return asgi_client(app)

It needs the official client and Hypothesis, the extra ``check``; ``Conformance`` needs pytest.
Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vsbatch_core.extras import pip_line

if TYPE_CHECKING:
    from vsbatch_core.testing.conformance.asgi import asgi_client
    from vsbatch_core.testing.conformance.laws import Law
    from vsbatch_core.testing.conformance.probe import Probe
    from vsbatch_core.testing.conformance.pytests import Conformance
    from vsbatch_core.testing.conformance.runner import LAWS, Verdict, check

__all__ = ["LAWS", "Conformance", "Law", "Probe", "Verdict", "asgi_client", "check"]

_HOMES = {
    "LAWS": "runner",
    "Conformance": "pytests",
    "Law": "laws",
    "Probe": "probe",
    "Verdict": "runner",
    "asgi_client": "asgi",
    "check": "runner",
}


def missing() -> str:
    """Return what to say where the extra is not installed."""
    return f"the conformance laws need the official client and Hypothesis: {pip_line('check')}"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = import_module(f"{__name__}.{_HOMES[name]}")
    except ImportError as error:
        raise ImportError(
            missing() if error.name != "pytest" else "Conformance needs pytest: pip install pytest"
        ) from error
    return getattr(home, name)

"""What tests are made with: the pytest fixture, whose type is ``Bench``, and the laws of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsbatch_core.testing.bench import Bench

__all__ = ["Bench"]


def __getattr__(name: str) -> Any:
    # The plugin is loaded in every test run, and with it this package: it imports nothing until it is used.
    if name == "Bench":
        from vsbatch_core.testing.bench import Bench  # noqa: PLC0415

        return Bench
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

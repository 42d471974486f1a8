"""A stand-in for the API that people can see and steer: its state, its time, its plan and its faults.

``StandIn`` is the engine with all that is around it, so that it can be made anew; ``app`` serves it over HTTP
with a control API and a page.  The engine and the API know nothing of this package.
"""

from __future__ import annotations

from vsbatch_core.standin.requests import Exchange, RequestLog
from vsbatch_core.standin.world import Settings, StandIn

__all__ = ["Exchange", "RequestLog", "Settings", "StandIn"]

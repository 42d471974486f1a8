"""Plans and faults as JSON-able data: the keys that ``[plan]`` and ``[faults]`` of a scenario have."""

from __future__ import annotations

from math import inf
from typing import Any

import attrs

from vsbatch_core.adapters.faults import SOURCES, During, Faults
from vsbatch_core.scenarios.circumstances import DURATIONS, OUTCOMES
from vsbatch_core.scenarios.files import ingested
from vsbatch_core.simulation import Constant, Outcome, Plan

_KINDS: dict[Any, str] = {make: kind for kind, make in DURATIONS.items()}
_ENDS: dict[Any, str] = {make: end for end, make in OUTCOMES.items()}


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return a plan as data: what is not as it is by default.  ``repr`` shows what no data can say."""
    found: dict[str, Any] = {"workers": plan.workers}
    unsaid = []
    kind = _KINDS.get(type(plan.service))
    if isinstance(plan.service, Constant):
        found["service"] = plan.service.seconds
    elif kind is None:
        unsaid.append(f"service={plan.service!r}")
    else:
        found["service"] = {"kind": kind, **_fields(plan.service)}
    if plan.failures:
        found["failures"] = _rates(plan.failures)
    for name in ("by_suffix", "by_id"):
        if getattr(plan, name):
            found[name] = {key: _rates(rates) for key, rates in getattr(plan, name).items()}
    if plan.script:
        found["script"] = {id: [_outcome(each) for each in outcomes] for id, outcomes in plan.script.items()}
    if callable(plan.order):
        unsaid.append(f"order={plan.order!r}")
    elif plan.order != "fifo":
        found["order"] = plan.order
    if plan.retries is not None:
        found["retries"] = _fields(plan.retries)
    for name in ("cancel", "polls", "by_hand"):
        if getattr(plan, name):
            found[name] = getattr(plan, name)
    if plan.decide is ingested:
        found["like"] = "ingest"
    elif plan.decide is not None:
        unsaid.append(f"decide={plan.decide!r}")
    if plan.size is not None:
        unsaid.append(f"size={plan.size!r}")
    if unsaid:
        found["repr"] = f"Plan({', '.join(unsaid)})"
    return found


def faults_data(faults: Faults) -> dict[str, Any]:
    """Return faults as data: those that there are, and how long they remember what is not as by default."""
    found: dict[str, Any] = {}
    unsaid = []
    for name in SOURCES:
        when = getattr(faults, name)
        window = when if isinstance(when, During) else During(when)
        if callable(window.when):
            unsaid.append(f"{name}={when!r}")
            continue
        plain = window.when if isinstance(window.when, (bool, int, float)) else list(window.when)
        if isinstance(when, During):
            until = {} if window.until == inf else {"until": window.until}
            found[name] = {"when": plain, "from": window.since, **until}
        elif plain is not False:
            found[name] = plain
    for attribute in attrs.fields(Faults):
        value = getattr(faults, attribute.name)
        if attribute.name not in SOURCES and value != attribute.default:
            found[attribute.name] = value
    if unsaid:
        found["repr"] = f"Faults({', '.join(unsaid)})"
    return found


def _rates(rates: Any) -> dict[str, float]:
    found, before = {}, 0.0
    for total, failed in rates:
        found[failed.code] = round(total - before, 12)  # sums of floats are not exact
        before = total
    return found


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {"end": _ENDS[type(outcome)], **_fields(outcome)}


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields that are not as by default."""
    return {
        attribute.name: _plain(getattr(value, attribute.name))
        for attribute in attrs.fields(type(value))
        if getattr(value, attribute.name) != attribute.default
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

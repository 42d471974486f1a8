"""The simulation: time, workers and a plan that drive an engine, from one seed.

Theory
======

A simulation stands in for the machinery behind the API.  It hears of every attachment through the engine's host
face, puts it into one line, and has a number of equal *workers* take files from it.  The *plan* says how long a
worker needs for a file, and what becomes of it then.

All that is going to happen stands in one queue, ordered by ``(due, priority, sequence)``: by when it is due, at
the same instant what ends before the user's own acts and those before what begins, and of equals the one that
was scheduled first.  That a worker picks up a file is due at once, whenever one is free and a file waits, and has
the last priority; so it needs no entry.  ``step`` does the first of all that is due;
everything else is a loop over it, or does in bulk what many steps come to: see ``bulk``.  So a run is a function
of the engine, the plan, the seed and the commands given between the steps.

A file that stops being in progress while it waits (its batch is cancelled, it is deleted, attached again, or
finished by somebody else) is passed over when its turn comes, in no time.  One that is being worked on frees its
worker **at once**, not when it would have been due (choice: a cancel is "as soon as possible").  A file attached
again goes to the end of the line.  If the engine's profile says ``cancel="drain"``, a file is claimed when it is
picked up for the first time, and so finishes.
"""

from __future__ import annotations

from vsbatch_core.adapters.faults import Faults
from vsbatch_core.simulation.durations import (
    Constant,
    Duration,
    Empirical,
    Exponential,
    Lognormal,
    PerMegabyte,
    Uniform,
)
from vsbatch_core.simulation.outcomes import Completed, Failed, Never, Outcome
from vsbatch_core.simulation.plans import Plan, Retries
from vsbatch_core.simulation.report import Report, Spread
from vsbatch_core.simulation.run import Simulation
from vsbatch_core.simulation.timeline import Mark, Row, Timeline

__all__ = [
    "Completed",
    "Constant",
    "Duration",
    "Empirical",
    "Exponential",
    "Failed",
    "Faults",
    "Lognormal",
    "Mark",
    "Never",
    "Outcome",
    "PerMegabyte",
    "Plan",
    "Report",
    "Retries",
    "Row",
    "Simulation",
    "Spread",
    "Timeline",
    "Uniform",
]

"""What a law is, and all of them.

A law is one sentence that a server's answers either bear out or not.  It carries one of three marks:

* **documented**: the API reference or its OpenAPI document says so;
* **recorded**: seen in published recordings of live traffic, or in a dated public report;
* **choice**: nobody has published it.  A server that differs is told so, and is not accused of anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

from attrs import field, frozen
from attrs.validators import in_
from hypothesis.strategies import SearchStrategy

Mark = Literal["documented", "recorded", "choice"]
MARKS: tuple[Mark, ...] = get_args(Mark)

REFERENCE = "the API reference and its OpenAPI document"
RECORDINGS = (
    "recordings of live traffic: openai-dotnet tests/SessionRecords/VectorStoresTests (2025-09, 2025-10), "
    "ruby-openai spec/fixtures/cassettes/vector_store_file_batches_* (2024)"
)
SIBLING = "recorded on a sibling endpoint"
REPORT = "one public report"
CLIENTS = "nobody has published it; the sources of the official clients' polling force it"
NOBODY = "nobody has published it"


@frozen
class Law:
    """A law: its id, one sentence, its mark, its source, how to try it, and what there is to choose.

    ``holds`` is called with a ``Trace`` and one value of each of the ``choices``.  It raises ``Broken``, or
    ``NotReached`` if the server could not be brought into the state that it speaks of.
    """

    id: str
    sentence: str
    mark: Mark = field(validator=in_(MARKS))
    source: str
    holds: Callable[..., None] = field(repr=False, eq=False)
    choices: dict[str, SearchStrategy[Any]] = field(factory=dict, repr=False, eq=False)


class Laws(dict[str, Law]):
    """Laws by id, in order."""

    def law(
        self, id: str, mark: Mark, source: str, **choices: SearchStrategy[Any]
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Make the decorated function a law, and its docstring the sentence.

        Its arguments behind the first are drawn from ``choices``.
        """

        def add(holds: Callable[..., None]) -> Callable[..., None]:
            self[id] = Law(id, " ".join(str(holds.__doc__).split()), mark, source, holds, choices)
            return holds

        return add

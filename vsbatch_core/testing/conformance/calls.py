"""Calls of the official client: how they are found, written as code, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import openai

from vsbatch_core.testing.conformance.tracing import code_of

RETRY_SECONDS = 1.0
"""How long to wait after a 429 that does not say."""

LISTS = {"batch": "vector_stores.file_batches.list_files", "store": "vector_stores.files.list"}
"""How a batch's files are listed, and a store's."""


def method_of(client: Any, path: str) -> Callable[..., Any]:
    """The client's method, by its dotted path."""
    method: Callable[..., Any] = reduce(getattr, path.split("."), client)
    return method


def said(error: openai.APIStatusError) -> str:
    """What a refusal says, on one line."""
    return " ".join(error.message.split())[:200]


def retry_after(error: openai.APIStatusError) -> float:
    """The seconds that a 429 asks to wait."""
    try:
        return max(0.0, float(error.response.headers.get("retry-after", RETRY_SECONDS)))
    except ValueError:  # a date
        return RETRY_SECONDS


MADE = {"vector_stores.create": "vector_stores.delete", "files.create": "files.delete"}
"""By the call that makes something, the call that deletes it."""

WORDS = {
    "list": "page",
    "list_files": "page",
    "delete": "deleted",
    "vector_stores": "store",
    "file_batches": "batch",
    "files": "file",
    "with_raw_response": "response",
}
"""What an answer is called: by the method, else by what it was called on."""


def written(path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The call as code."""
    parts = [*map(code_of, args), *(f"{key}={code_of(value)}" for key, value in kwargs.items())]
    return f"client.{path}({', '.join(parts)})"


def word_of(path: str) -> str:
    """What the answer is called."""
    owner, _, method = path.rpartition(".")
    return WORDS.get(method) or WORDS[owner.rpartition(".")[2]]

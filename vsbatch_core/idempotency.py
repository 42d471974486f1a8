"""Idempotency keys: a create that is repeated under its key returns what the first one created.

A client that does not know whether its request arrived repeats it.  Under a key that makes nothing twice: the
event of the first create carries the key and the fingerprint of the request, so that a replay, a log and a
snapshot know them too.  The keys of creates of stores belong to the list of stores, all others to their store.
In each of these places ``Limits.idempotency_keys`` of them are kept; then the oldest is forgotten, and a
repetition is a new request (choice).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Literal

from vsbatch_core import validation
from vsbatch_core.errors import IdempotencyKeyReused, Inconsistent
from vsbatch_core.model import Idempotency

Keys = OrderedDict[str, tuple[str, str]]
"""By key, the oldest first: the fingerprint of its request, and the id of what that created."""

Operation = Literal["vector_stores.create", "vector_stores.files.create", "vector_stores.file_batches.create"]

NO_KEYS: Keys = OrderedDict()
"""Shared by all places without keys; nothing is ever put into it."""


def of_request(key: Any, operation: Operation, files: validation.NewFiles, *others: Any) -> Idempotency | None:
    """Return the key of a create with the fingerprint of its request; ``None`` if it has none.  O(files).

    The arguments are those that were validated, so that requests which mean the same are the same (choice);
    ``others`` are JSON-able.  Raise ``InvalidType``, ``StringTooShort`` or ``StringTooLong`` for what is no key.
    """
    if key is None:
        return None
    from hashlib import blake2b  # noqa: PLC0415 - OpenSSL, which most programs do not need

    validation.idempotency_key("idempotency_key", key)
    file_ids, chunkings, attributes_each = files
    sizes = [(each.static.max_chunk_size_tokens, each.static.chunk_overlap_tokens) for each in chunkings]
    request = _canonical([operation, file_ids, _alike(sizes), _alike(attributes_each), others])
    return Idempotency(key, blake2b(request.encode(), digest_size=validation.FINGERPRINT_BYTES).hexdigest())


def _canonical(value: Any) -> str:
    """Return JSON that is the same for the same data."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _alike(values: Iterable[Any]) -> list[str]:
    """Return the JSON of the values of files: of one for all if they are the same."""
    each = list(map(_canonical, values))
    return each if len(set(each)) > 1 else each[:1]


def created(keys: Keys, idempotency: Idempotency | None) -> str | None:
    """Return the id of what the request with this key created; ``None`` if it has none, or one that is not kept.

    Raise ``IdempotencyKeyReused`` if the key came with another request.  O(1).
    """
    kept = None if idempotency is None else keys.get(idempotency.key)
    if idempotency is None or kept is None:
        return None
    fingerprint, id = kept
    if fingerprint != idempotency.fingerprint:
        raise IdempotencyKeyReused(idempotency.key, id)
    return id


def oldest(keys: Keys, limit: int) -> str | None:
    """Return the key that the next one makes be forgotten, or ``None``."""
    return None if len(keys) < limit else next(iter(keys))


def keep(keys: Keys, idempotency: Idempotency | None, id: str, forgotten: str | None) -> Keys:
    """Put the key of what was created, if it has one; ``forgotten`` is what ``oldest`` returned before.

    Return the keys, which are a new object if there were none.  It can be called again with the same arguments.
    """
    if idempotency is not None:
        if keys is NO_KEYS:
            keys = OrderedDict()
        keys[idempotency.key] = idempotency.fingerprint, id
        if forgotten is not None:
            keys.pop(forgotten, None)
    return keys


def restored(kept: Iterable[tuple[str, str, str]], limit: int) -> Keys:
    """Return keys, the latest ``limit`` of those that are given as key, fingerprint and id, the oldest first."""
    each = [(key, (fingerprint, id)) for key, fingerprint, id in kept]
    return OrderedDict(each[-limit:]) if each else NO_KEYS


def check(keys: Keys, limit: int, where: str) -> None:
    """Raise ``Inconsistent`` if more keys are kept than may be, or any in what all places without keys share."""
    if len(keys) > limit or NO_KEYS:
        raise Inconsistent(f"how many idempotency keys {where} keeps", (len(keys), len(NO_KEYS)), (limit, 0))

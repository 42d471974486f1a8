"""Redis over a local socket, with redis-py: sorted sets for every list, hashes for files and counts, Lua.

Each file is a hash; its sequence number is its score in a sorted set of the store, in one of its status, and in
one of its batch and status.  A change, or a page with its cursor, is one script: one trip to the server, and as
atomic as a transaction.  The server is started on a socket of its own, keeps nothing on disk, and ends with the
contender.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from typing import Any, ClassVar

from benchmarks.contenders.base import Missing
from benchmarks.contenders.values import Found, Typed, made
from benchmarks.model import STATUSES, Counts, Query
from vsbatch_core import VectorStoreFile
from vsbatch_core.extras import pip_line

_PATIENCE = 10.0
"""Seconds after which a server that does not respond is given up."""

_ATTACH = """
local batch, created_at, first = ARGV[1], ARGV[2], tonumber(redis.call('GET', 'next') or '0')
for i = 4, #ARGV do
    local id, seq = ARGV[i], first + i - 4
    redis.call('HSET', 'f:' .. id, 's', seq, 'b', batch, 'c', created_at, 't', 'in_progress', 'u', 0)
    redis.call('ZADD', 'here', seq, id)
    redis.call('ZADD', 't:in_progress', seq, id)
    redis.call('ZADD', 'b:' .. batch .. ':in_progress', seq, id)
end
local n = #ARGV - 3
redis.call('SET', 'next', first + n)
redis.call('HINCRBY', 'n', 'in_progress', n)
redis.call('HINCRBY', 'n:' .. batch, 'in_progress', n)
return n
"""
_MOVE = """
local function move(id, status, usage)
    local file = redis.call('HMGET', 'f:' .. id, 's', 'b', 'c', 't')
    if file[4] ~= 'in_progress' then return redis.error_reply(id .. ' is not in progress') end
    local batch = file[2]
    redis.call('HSET', 'f:' .. id, 't', status, 'u', usage)
    redis.call('ZREM', 't:in_progress', id)
    redis.call('ZADD', 't:' .. status, file[1], id)
    redis.call('ZREM', 'b:' .. batch .. ':in_progress', id)
    redis.call('ZADD', 'b:' .. batch .. ':' .. status, file[1], id)
    redis.call('HINCRBY', 'n', 'in_progress', -1)
    redis.call('HINCRBY', 'n', status, 1)
    redis.call('HINCRBY', 'n:' .. batch, 'in_progress', -1)
    redis.call('HINCRBY', 'n:' .. batch, status, 1)
    return {id, file[3], status, usage}
end
"""
_COMPLETE = _MOVE + "return move(ARGV[1], 'completed', ARGV[2])"
_COMPLETE_MANY = _MOVE + "for i = 2, #ARGV do move(ARGV[i], 'completed', ARGV[1]) end return #ARGV - 1"
_CANCEL = (
    _MOVE
    + """
local ids = redis.call('ZRANGE', 'b:' .. ARGV[1] .. ':in_progress', 0, -1)
for _, id in ipairs(ids) do move(id, 'cancelled', 0) end
return #ids
"""
)
_DELETE = """
local file = redis.call('HMGET', 'f:' .. ARGV[1], 's', 'b', 't')
local batch, status = file[2], file[3]
redis.call('ZREM', 'here', ARGV[1])
if status == 'in_progress' then
    redis.call('HSET', 'f:' .. ARGV[1], 't', 'cancelled')
    redis.call('ZREM', 'b:' .. batch .. ':in_progress', ARGV[1])
    redis.call('ZADD', 'b:' .. batch .. ':cancelled', file[1], ARGV[1])
    redis.call('HINCRBY', 'n:' .. batch, 'in_progress', -1)
    redis.call('HINCRBY', 'n:' .. batch, 'cancelled', 1)
end
redis.call('ZREM', 't:' .. status, ARGV[1])
redis.call('HINCRBY', 'n', status, -1)
return 1
"""
_PAGE = """
local function place(id, otherwise)
    if id == '' then return otherwise end
    return '(' .. redis.call('HGET', 'f:' .. id, 's')
end
local low, high = place(ARGV[2], '-inf'), place(ARGV[3], '+inf')
local ids
if ARGV[4] == '1' then
    ids = redis.call('ZRANGE', KEYS[1], high, low, 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[1])
else
    ids = redis.call('ZRANGE', KEYS[1], low, high, 'BYSCORE', 'LIMIT', 0, ARGV[1])
end
local found = {}
for i, id in ipairs(ids) do
    local file = redis.call('HMGET', 'f:' .. id, 'c', 't', 'u')
    found[i] = {id, file[1], file[2], file[3]}
end
return found
"""
_MANY = 4_000
"""How many ids one call is given: Lua cannot unpack many more."""


class Redis(Typed):
    """One store in a server of its own."""

    key, title = "redis", "Redis, local socket"
    most = 100_000
    unable: ClassVar[Mapping[str, str]] = {
        "snapshot": "it keeps nothing on disk here",
        "restore": "it keeps nothing on disk here",
        "replay": "it keeps no events",
    }

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Missing("no redis-server is on the PATH: apt-get install redis-server")
        try:
            redis: Any = import_module("redis")  # an optional extra
        except ImportError as error:
            raise Missing(pip_line("bench-peers")) from error
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vsbatch-bench-"))
            socket = f"{folder}/socket"
            options = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", folder]
            self._server = stack.enter_context(
                subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)  # noqa: S603 - looked up above
            )
            # Ctrl-C reaches it too, and it ends by itself; to ask it again is harmless.
            stack.callback(self._server.terminate)
            self._client: Any = redis.Redis(unix_socket_path=socket, decode_responses=True)
            stack.callback(self._client.close)
            deadline = time.monotonic() + _PATIENCE
            while True:
                try:
                    self._client.ping()
                    break
                except redis.ConnectionError as error:
                    if time.monotonic() > deadline or self._server.poll() is not None:
                        raise Missing(
                            f"redis-server is silent for {_PATIENCE:g} s ({error}): see what it says by hand"
                        ) from error
                    time.sleep(0.01)
            register = self._client.register_script
            self._attach, self._complete = register(_ATTACH), register(_COMPLETE)
            self._complete_many, self._cancel = register(_COMPLETE_MANY), register(_CANCEL)
            self._delete, self._page = register(_DELETE), register(_PAGE)
            self._open = stack.pop_all()

    def close(self) -> None:
        """See ``Contender``."""
        self._open.close()

    def pids(self) -> tuple[int, ...]:
        """See ``Contender``."""
        return (self._server.pid,)

    def attach(self, batch: int, ids: list[str], created_at: int) -> object:
        """See ``Contender``."""
        return self._attach(args=[batch, created_at, 0, *ids])

    def complete(self, id: str, usage_bytes: int) -> VectorStoreFile:
        """See ``Contender``."""
        return _typed(self._complete(args=[id, usage_bytes]))

    def complete_many(self, ids: Sequence[str], usage_bytes: int) -> object:
        """See ``Contender``."""
        for first in range(0, len(ids), _MANY):
            self._complete_many(args=[usage_bytes, *ids[first : first + _MANY]])
        return None

    def cancel(self, batch: int) -> object:
        """See ``Contender``."""
        return self._cancel(args=[batch])

    def delete(self, id: str) -> object:
        """See ``Contender``."""
        return self._delete(args=[id])

    def page(self, query: Query) -> Found:
        """See ``Contender``."""
        key = "here" if query.filter is None else f"t:{query.filter}"
        after, before = query.after or "", query.before or ""
        if query.order == "desc":
            after, before = before, after
        backward = query.before is not None and query.after is None
        falling = (query.order == "desc") is not backward
        rows = self._page(keys=[key], args=[query.limit + 1, after, before, int(falling)])
        more = len(rows) > query.limit
        if more:
            rows.pop()
        files = [_typed(row) for row in rows]
        if backward:
            files.reverse()
        return files, more

    def file(self, id: str) -> VectorStoreFile:
        """See ``Contender``."""
        created_at, status, usage_bytes = self._client.hmget(f"f:{id}", "c", "t", "u")
        return made(id, int(created_at), status, int(usage_bytes))

    def tally(self, batch: int | None) -> list[int]:
        """See ``Contender``."""
        found = self._client.hmget("n" if batch is None else f"n:{batch}", *STATUSES)
        return [int(n or 0) for n in found]

    def counts(self, batch: int | None = None) -> Counts:
        """See ``Contender``."""
        in_progress, completed, failed, cancelled = self.tally(batch)
        return in_progress, completed, failed, cancelled


def _typed(row: Any) -> VectorStoreFile:
    id, created_at, status, usage_bytes = row
    return made(id, int(created_at), status, int(usage_bytes))

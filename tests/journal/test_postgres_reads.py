"""Fresh reads of engines that share a PostgreSQL database."""

from __future__ import annotations

from itertools import product

import pytest

from vsbatch_core import Engine

from ..helpers.postgres import cluster_or_skip

pytestmark = pytest.mark.slow  # starts a server

PROGRAMS = list(product([(who, does) for who in (0, 1) for does in ("write", "read")], repeat=4))


def test_a_read_sees_every_commit_whoever_committed_last_and_whatever_was_read_before() -> None:
    with cluster_or_skip() as cluster:
        url = cluster.database()
        with Engine.open(url) as one, Engine.open(url) as other:
            engines = one, other
            store = one.vector_stores.create(name="0").id
            written = 0
            for program in PROGRAMS:
                for who, does in program:
                    if does == "write":
                        written += 1
                        engines[who].vector_stores.update(store, name=f"{written}")
                    else:
                        assert engines[who].vector_stores.retrieve(store).name == f"{written}", program

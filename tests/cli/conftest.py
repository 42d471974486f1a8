from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..helpers.postgres import Cluster, cluster_or_skip


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with cluster_or_skip() as made:
        yield made

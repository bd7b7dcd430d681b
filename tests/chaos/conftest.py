from collections.abc import Iterator

import pytest
from support.cluster import Cluster


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An empty cluster: each test starts what it kills."""
    made = Cluster(tmp_path_factory.mktemp("k"))
    try:
        yield made
    finally:
        made.close()

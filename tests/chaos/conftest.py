from collections.abc import Iterator

import pytest
from support.cluster import Cluster
from support.rabbitmq import RabbitNode


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, rabbit: RabbitNode | None) -> Iterator[Cluster]:
    """An empty cluster: each test starts what it kills."""
    made = Cluster(tmp_path_factory.mktemp("k"), rabbit=rabbit)
    try:
        yield made
    finally:
        made.close()

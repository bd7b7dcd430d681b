from collections.abc import Iterator

import pytest
from support.cluster import Cluster
from support.rabbitmq import RabbitNode
from support.trial import long_run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what is marked `long` to `make chaos`."""
    if long_run():
        return
    left = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, rabbit: RabbitNode | None) -> Iterator[Cluster]:
    """An empty cluster: each test starts what it kills."""
    made = Cluster(tmp_path_factory.mktemp("k"), rabbit=rabbit)
    try:
        yield made
    finally:
        made.close()

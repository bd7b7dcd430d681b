from collections.abc import Iterator

import pytest
from support.cluster import Cluster


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster of three devices for all tests of this process that leave it as it was."""
    made = Cluster(tmp_path_factory.mktemp("c"))
    made.coordinator()
    made.worker("edge-1")
    made.worker("edge-2", "edge-3", name="edge-23")
    try:
        yield made.ready()
    finally:
        made.close()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """The shared cluster with an empty effect log."""
    shared_cluster.effects.path.write_text("")
    return shared_cluster

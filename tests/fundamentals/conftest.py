"""A small cluster, and a directory that stands for the world."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import CELERY_WORKER, Cluster

from executor import ResolutionClient


@pytest.fixture(scope="session")
def small_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A coordinator, and a worker for two devices."""
    made = Cluster(tmp_path_factory.mktemp("f"), program=CELERY_WORKER)
    made.coordinator()
    made.worker("edge-1", "edge-2")
    try:
        yield made.ready()
    finally:
        made.close()


@pytest.fixture
def client(small_cluster: Cluster) -> ResolutionClient:
    """What other programs have: a connection to the cluster."""
    return small_cluster.client


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A directory with one file, on both devices."""
    (tmp_path / "site.conf").write_text("workers=0\n")
    return tmp_path

from collections.abc import Iterator

import pytest
from support.cluster import Cluster
from support.postgres import PostgresServer
from support.postgres_shop import shop
from support.rabbitmq import RabbitNode
from support.worlds import Bench


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster of three devices for all tests of this process that leave it as it was."""
    yield from _three_devices(Cluster(tmp_path_factory.mktemp("c")))


@pytest.fixture(scope="session")
def shared_rabbit_cluster(tmp_path_factory: pytest.TempPathFactory, rabbit_node: RabbitNode) -> Iterator[Cluster]:
    """The same with RabbitMQ for the messages."""
    yield from _three_devices(Cluster(tmp_path_factory.mktemp("c"), rabbit=rabbit_node))


def _three_devices(made: Cluster) -> Iterator[Cluster]:
    made.coordinator()
    made.worker("edge-1")
    made.worker("edge-2", "edge-3", name="edge-23")
    try:
        yield made.ready()
    finally:
        made.close()


@pytest.fixture
def cluster(broker: str, request: pytest.FixtureRequest) -> Cluster:
    """The shared cluster with an empty effect log."""
    shared: Cluster = request.getfixturevalue("shared_rabbit_cluster" if broker == "rabbitmq" else "shared_cluster")
    shared.effects.path.write_text("")
    return shared


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """One server for this module."""
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def database(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh one, with a small shop in it."""
    with shop(postgres, monkeypatch) as name:
        yield name


@pytest.fixture
def bench() -> Bench:
    """Runs single actions in this process."""
    return Bench()

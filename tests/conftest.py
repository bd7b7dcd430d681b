"""What every folder of tests may use."""

from collections.abc import Iterator

import pytest
from support.rabbitmq import RabbitNode, running_node
from support.server import Server
from support.trial import long_run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what is marked `long` or `thorough` to the Makefile's targets, and to whoever asks for it (-m, -k)."""
    if long_run() or config.option.markexpr:
        return
    marks = ("long",) if config.option.keyword else ("long", "thorough")
    left = [item for item in items if any(item.get_closest_marker(mark) for mark in marks)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One real server for all tests that only need some server; each of them empties it first."""
    server = Server(tmp_path_factory.mktemp("valkey")).start()
    yield server
    server.stop()


@pytest.fixture
def valkey(valkey_server: Server) -> Server:
    """That server, empty."""
    with valkey_server.client() as client:
        client.flushall()
    return valkey_server


@pytest.fixture(scope="session")
def rabbit_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """One RabbitMQ for all clusters of this process, each in a virtual host of its own."""
    with running_node(tmp_path_factory.mktemp("r")) as node:
        yield node


@pytest.fixture
def broker() -> str:
    """What carries the messages; tests that are parametrized over `both_brokers` run on each."""
    return "redis"


@pytest.fixture
def rabbit(broker: str, request: pytest.FixtureRequest) -> RabbitNode | None:
    """The node of a test that runs on RabbitMQ."""
    node: RabbitNode | None = request.getfixturevalue("rabbit_node") if broker == "rabbitmq" else None
    return node

"""What every folder of tests may use."""

from collections.abc import Iterator

import pytest
from support.server import Server


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

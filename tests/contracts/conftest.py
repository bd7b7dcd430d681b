"""Every implementation of a port, for the one suite that judges them."""

from collections.abc import Iterator

import pytest
from support.ledgers import AnyLedger
from support.server import Server

from executor.ledger.memory import MemoryLedger
from executor.ledger.valkey import ValkeyLedger


@pytest.fixture(params=["memory", "valkey"])
def ledger(request: pytest.FixtureRequest) -> Iterator[AnyLedger]:
    made: AnyLedger
    if request.param == "memory":
        made = MemoryLedger()
    else:
        server: Server = request.getfixturevalue("valkey")
        made = ValkeyLedger(server.url)
    yield made
    made.close()

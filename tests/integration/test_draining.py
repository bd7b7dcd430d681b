"""What `rex drain --wait` waits for, on a real server."""

from support.ledgers import Tried, in_group, step
from support.server import Server

from executor.cli.fleet import _running_on
from executor.client import ResolutionClient
from executor.ledger.valkey import ValkeyLedger
from executor.model.device import Announcement


def test_an_action_between_two_attempts_is_still_at_work(valkey: Server) -> None:
    """It will run there again; no worker holds it meanwhile."""
    ledger = ValkeyLedger(valkey.url)
    ledger.register("w1", Announcement(devices=("edge-1",)))
    tried = Tried(ledger).start(in_group([step("a"), step("b")]))
    with ResolutionClient(valkey.url, name="test") as client:
        assert _running_on(client, "edge-1") == 0
        held = tried.claim("a")
        assert _running_on(client, "edge-1") == 1
        tried.settle(held, status="retry", delay_s=60.0)
        assert client.devices()[0]["running"] == 0
        assert (_running_on(client, "edge-1"), _running_on(client, "edge-2")) == (1, 0)
    ledger.close()

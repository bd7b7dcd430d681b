"""What `rex plan` and `rex worker` take from their surroundings: a real server, and the environment."""

import os

import pytest
from support.server import Server

from config.settings import load_settings
from executor.cli.planned import _fleet
from executor.cli.roles import announce
from executor.ledger.connection import connect
from executor.ledger.valkey import ValkeyLedger
from executor.model.device import Announcement
from executor.model.placement import Wanted


def test_devices_are_chosen_by_what_waits_at_the_broker(valkey: Server) -> None:
    """Also where that is not the server of the ledger: there nothing waits."""
    ledger = ValkeyLedger(valkey.url)
    for name in ("edge-1", "edge-2"):
        ledger.register(f"w-{name}", Announcement(devices=(name,), actions=("wait",)))
    ledger.close()
    broker_url = valkey.url.replace("virtual_host=0", "virtual_host=1")
    with connect(broker_url, name="test", patience_s=1) as broker:
        broker.rpush("device.edge-1", *"abcdefgh")
        try:
            found = load_settings(environ={"REX_BROKER_URL": broker_url, "REX_LEDGER_URL": valkey.url, "HOME": "/"})
            assert _fleet(found).place(Wanted(("wait",))).device == "edge-2"
        finally:
            broker.delete("device.edge-1")


def test_spaces_between_labels_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the worker itself reads them."""
    monkeypatch.setenv("REX_LABELS", "zone=eu, rack=1 ,")
    monkeypatch.setenv("REX_CAPABILITIES", " gpu, ")
    announce(["tier=web"], [])
    assert (os.environ["REX_LABELS"], os.environ["REX_CAPABILITIES"]) == ("zone=eu,rack=1,tier=web", "gpu")

"""Devices get a document with a version, acknowledge it, and the fleet is told when all of them have it."""

import json
from typing import Any

from support.ledgers import AnyLedger

from executor.model.device import Announcement
from executor.model.state import Document, Known

OLD, NEW = '{"flag":false}', '{"flag":true}'
DONE = "distributed:synchronization:completed"


def serve(ledger: AnyLedger, *devices: str) -> None:
    for device in devices:
        ledger.register(f"w-{device}", Announcement(devices=(device,)))


def acknowledge(ledger: AnyLedger, *devices: str, version: int = 1) -> set[str]:
    return {ledger.acknowledge(f"w-{device}", device, version) for device in devices}


def told(ledger: AnyLedger) -> list[dict[str, Any]]:
    events = ledger.fleet_events()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return [event["data"] for event in events if event["event"] == DONE]


def test_a_document_goes_out_is_acknowledged_and_told_once(ledger: AnyLedger) -> None:
    serve(ledger, "edge-1", "edge-2")
    made = ledger.synchronize(["edge-2", "edge-1"], OLD, execution="E1")
    assert (made.version, made.missing) == (1, ("edge-1", "edge-2"))
    document = ledger.state_of("edge-1")
    assert document is not None
    assert (document.version, document.text) == (1, OLD)
    assert acknowledge(ledger, "edge-1") == {"ok"}
    assert told(ledger) == []
    assert ledger.known(["edge-1", "edge-2", "edge-9"]) == {
        "edge-1": Known(1, 1, document.at_ms), "edge-2": Known(1, 0, document.at_ms), "edge-9": Known()
    }  # fmt: skip
    assert acknowledge(ledger, "edge-2", "edge-2") == {"ok"}
    assert told(ledger) == [{"devices": ["edge-1", "edge-2"], "version": 1, "executionId": "E1"}]
    acknowledge(ledger, "edge-1", "edge-2")
    assert len(told(ledger)) == 1


def test_the_same_content_again_is_no_new_version(ledger: AnyLedger) -> None:
    """Neither while it is on its way, nor when it has arrived; and there is nothing to be told again."""
    serve(ledger, "edge-1")
    for _ in range(2):
        assert ledger.synchronize(["edge-1"], OLD).version == 1
    acknowledge(ledger, "edge-1")
    assert ledger.synchronize(["edge-1"], OLD).missing == ()
    assert (len(told(ledger)), ledger.renew("w-edge-1", []).news) == (1, 1)


def test_a_newer_document_supersedes_the_older_one(ledger: AnyLedger) -> None:
    """The older synchronisation is never complete, and its acknowledgement comes too late."""
    serve(ledger, "edge-1", "edge-2")
    ledger.synchronize(["edge-1", "edge-2"], OLD)
    acknowledge(ledger, "edge-2")
    assert ledger.synchronize(["edge-1"], NEW).version == 2
    assert acknowledge(ledger, "edge-1", version=1) == {"stale"}
    assert acknowledge(ledger, "edge-1", version=3) == {"stale"}
    assert ledger.known(["edge-1"])["edge-1"].acknowledged == 0
    assert told(ledger) == []
    assert acknowledge(ledger, "edge-1", version=2) == {"ok"}
    assert [one["devices"] for one in told(ledger)] == [["edge-1"]]


def test_versions_of_one_synchronisation_are_equal_and_only_rise(ledger: AnyLedger) -> None:
    serve(ledger, "edge-1", "edge-2")
    ledger.synchronize(["edge-1"], OLD)
    ledger.synchronize(["edge-1"], NEW)
    made = ledger.synchronize(["edge-1", "edge-2"], OLD)
    assert {known.version for known in made.devices.values()} == {3}
    again = ledger.synchronize(["edge-1", "edge-2", "edge-3"], OLD)
    assert [known.version for known in again.devices.values()] == [3, 3, 4]


def test_two_synchronisations_of_one_content_are_both_completed(ledger: AnyLedger) -> None:
    serve(ledger, "edge-1", "edge-2")
    ledger.synchronize(["edge-1"], OLD)
    ledger.synchronize(["edge-1", "edge-2"], OLD, execution="E2")
    acknowledge(ledger, "edge-1")
    assert [one["devices"] for one in told(ledger)] == [["edge-1"]]
    version = ledger.known(["edge-2"])["edge-2"].version
    acknowledge(ledger, "edge-2", version=version)
    assert [one["executionId"] for one in told(ledger)] == [None, "E2"]


def test_a_stranger_acknowledges_nothing(ledger: AnyLedger) -> None:
    """Neither one who is not registered, nor a worker of another device, nor for a device without a document."""
    serve(ledger, "edge-1", "edge-2")
    ledger.synchronize(["edge-1"], OLD)
    assert ledger.acknowledge("w-edge-2", "edge-1", 1) == "foreign"
    assert ledger.acknowledge("nobody", "edge-1", 1) == "foreign"
    assert acknowledge(ledger, "edge-2") == {"stale"}
    assert ledger.known(["edge-1"])["edge-1"].acknowledged == 0


def test_a_device_that_nobody_serves_gets_it_later(ledger: AnyLedger) -> None:
    made = ledger.synchronize(["edge-1"], NEW)
    assert made.missing == ("edge-1",)
    serve(ledger, "edge-1")
    assert isinstance(ledger.state_of("edge-1"), Document)
    assert acknowledge(ledger, "edge-1") == {"ok"}
    assert len(told(ledger)) == 1


def test_a_renewal_tells_whether_there_is_news(ledger: AnyLedger) -> None:
    serve(ledger, "edge-1")
    assert ledger.renew("w-edge-1", []).news == 0
    ledger.synchronize(["edge-1", "edge-2"], OLD)
    ledger.synchronize(["edge-2"], NEW)
    assert ledger.renew("w-edge-1", []).news == 2


def test_a_device_without_a_document_has_none(ledger: AnyLedger) -> None:
    assert ledger.state_of("edge-1") is None
    assert ledger.known(["n"]) == {"n": Known()}


def test_equal_documents_are_kept_once_and_old_ones_not_at_all(ledger: AnyLedger, request: Any) -> None:
    """A large fleet with one document costs one document."""
    devices = [f"edge-{number}" for number in range(50)]
    ledger.synchronize(devices, OLD)
    ledger.synchronize(devices, NEW)
    ledger.synchronize(devices[:1], OLD)
    if "valkey" in request.node.name:
        raw: Any = ledger._client.hvals(ledger._key("synced"))  # type: ignore[union-attr]
        assert sorted(raw) == sorted([OLD, NEW])
    assert json.loads(ledger.state_of("edge-0").text) == {"flag": False}  # type: ignore[union-attr]

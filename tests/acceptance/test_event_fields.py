"""What events carry is what the table of events says."""

import pytest
from support.cluster import Cluster, action, strategy

from executor.model.event import BY_NAME, ENVELOPE, LAST_EVENTS

pytestmark = pytest.mark.cluster


def test_events_have_the_fields_of_the_table(three_devices: Cluster) -> None:
    """Over retries, skips, failures, compensations, probes, refusals and cancels: no field is missing, none is new."""
    effects, client = three_devices.effects, three_devices.client
    once = f"test -e {three_devices.folder}/fields || {{ touch {three_devices.folder}/fields; exit 1; }}"
    fails = action("fails", effects, then="exit 1", retry="none")
    probe = {"uses": "wait", "with": {"for": "1ms"}}
    documents = [
        strategy("well", [action("again", effects, then=once), action("idle", effects, when="false")]),
        strategy("ill", [action("first", effects), fails], rollback={"verify": [probe]}),
        strategy("unproved", [fails], rollback={"verify": [{"uses": "assert", "with": {"that": "false"}}]}),
        strategy("halted", [action("wait", effects), {**fails, "on_failure": "stop"}]),
        {"name": "wrong"},
        strategy("slow", [{"id": "slow", "uses": "wait", "with": {"for": "20s"}}]),
    ]
    seen = set()
    for document in documents:
        execution = client.submit(document)
        for number, event in enumerate(client.events(execution), 1):
            if event["event"] == "execution:action:started" and event["data"]["action"] == "slow":
                client.cancel(execution)
            assert set(event) == set(ENVELOPE)
            assert event["seq"] == number
            fields = BY_NAME[event["event"]].data
            needed = {name for name in fields if not name.endswith("?")}
            allowed = {name.rstrip("?") for name in fields}
            assert needed <= set(event["data"]) <= allowed, event
            seen.add(event["event"])
        assert event["event"] in LAST_EVENTS
    assert {"execution:action:retrying", "execution:action:skipped", "rollback:failed", "execution:refused"} <= seen
    assert {"execution:cancelled", "execution:action:cancelled", "rollback:completed"} <= seen

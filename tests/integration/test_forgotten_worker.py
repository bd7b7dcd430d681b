"""A server that was lost with its last moments does not know a worker that goes on."""

import pytest
from support.cluster import Cluster
from support.waiting import wait_until

pytestmark = pytest.mark.cluster


def test_a_worker_that_was_forgotten_announces_itself_again(cluster: Cluster) -> None:
    """Or it would consume, and count as nobody: placement and failover would pass its device over."""
    (worker,) = [one for one in cluster.client.workers() if one["devices"] == ["edge-1"]]
    with cluster.server.client() as client:
        client.hdel("rex:{0}:workers", worker["incarnation"])
        client.srem("rex:{0}:serving:edge-1", worker["incarnation"])
    wait_until(
        lambda: (
            [one["incarnation"] for one in cluster.client.workers() if "edge-1" in one["devices"]]
            == [worker["incarnation"]]
        ),
        description="it is known again",
    )
    action = {"id": "a", "device": "edge-1", "uses": "wait", "with": {"for": "0ms"}}
    assert cluster.result(cluster.client.submit({"name": "s", "actions": [action]}))["status"] == "completed"

"""Each shape of a strategy on real workers: in order, side by side, in phases; and taken back when it fails."""

from typing import Any

import pytest
from support.cluster import Cluster, action, redis_first, strategy

pytestmark = [pytest.mark.cluster, redis_first]


def names(cluster: Cluster, prefix: str) -> list[str]:
    return [line.removeprefix(prefix) for line in cluster.effects.lines() if line.startswith(prefix)]


@pytest.mark.parametrize("fuse_devices", [1, 3], ids=["one-device", "three-devices"])
@pytest.mark.parametrize("length", [1, 7, 60])
def test_a_sequence_runs_in_order(cluster: Cluster, length: int, fuse_devices: int) -> None:
    actions = [action(f"a{n}", cluster.effects, device=f"edge-{n % fuse_devices + 1}") for n in range(length)]
    report = cluster.run(strategy("in-order", actions))
    assert report["status"] == "completed"
    assert names(cluster, "do:") == [f"a{n}" for n in range(length)]
    assert [a["device"] for a in report["actions"].values()] == [f"edge-{n % fuse_devices + 1}" for n in range(length)]


@pytest.mark.parametrize("failing", range(0, 8))
@pytest.mark.parametrize("model", ["sequential", "parallel", "phased"])
def test_a_failure_at_each_action_is_taken_back(cluster: Cluster, model: str, failing: int) -> None:
    def one(n: int) -> dict[str, Any]:
        then = "exit 9" if n == failing else "true"
        return action(f"a{n}", cluster.effects, then=then, device=f"edge-{n % 3 + 1}", retry="none")

    fields: dict[str, Any] = {"model": model, "limits": {"parallel": 3}}
    actions = [one(n) for n in range(8)]
    if model == "phased":
        fields["phases"] = [{"name": f"p{n}", "actions": actions[n : n + 4]} for n in (0, 4)]
        document = {"name": "fails", **fields}
    else:
        document = strategy("fails", actions, **fields)
    report = cluster.run(document)
    assert report["status"] == "failed"
    assert report["error"]["action"] == f"a{failing}"
    done = {name for name, a in report["actions"].items() if a["status"] == "succeeded"}
    assert set(names(cluster, "undo:")) == done
    assert len(names(cluster, "undo:")) == len(done)
    # what ran beside the failure was stopped in its middle: where nobody knows whether it was done, it is listed
    left = {entry["action"] for entry in report["rollback"]["remaining"]}
    assert left <= {name for name, told in report["actions"].items() if told["status"] == "cancelled"}
    began = set(names(cluster, "do:"))
    assert done | {f"a{failing}"} <= began <= done | left | {f"a{failing}"}
    assert report["rollback"]["status"] == ("partial" if left else "completed")
    assert report["actions"][f"a{failing}"]["undo"] is None
    if model == "sequential":
        assert names(cluster, "undo:") == [f"a{n}" for n in reversed(range(failing))]


def test_needs_become_levels(cluster: Cluster) -> None:
    actions = [
        action("last", cluster.effects, needs=["left", "right"]),
        action("left", cluster.effects, needs=["first"], device="edge-2"),
        action("right", cluster.effects, needs=["first"], device="edge-3"),
        action("first", cluster.effects),
    ]
    report = cluster.run(strategy("levels", actions, model="phased"))
    assert report["status"] == "completed"
    did = names(cluster, "do:")
    assert did[0] == "first"
    assert did[-1] == "last"


def test_a_hundred_side_by_side_never_exceed_the_limit(cluster: Cluster) -> None:
    actions = [
        {"id": f"a{n}", "uses": "command", "compensate": "none", "device": f"edge-{n % 3 + 1}",
         "with": {"run": "echo in >> $EFFECTS; sleep 0.01; echo out >> $EFFECTS"}}
        for n in range(60)
    ]  # fmt: skip
    report = cluster.run(strategy("wide", actions, model="parallel", limits={"parallel": 3}))
    assert report["status"] == "completed"
    inside = most = 0
    for line in cluster.effects.lines():
        inside += 1 if line == "in" else -1
        most = max(most, inside)
    assert most <= 3
    assert len(cluster.effects.lines()) == 120

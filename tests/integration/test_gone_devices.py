"""A device that is gone when an execution is taken back: the others go on, and what it should have undone is listed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, action, strategy
from support.trees import described
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

Json = dict[str, Any]


@pytest.fixture
def devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three devices with a worker each, to be killed."""
    made = Cluster(tmp_path_factory.mktemp("g"))
    try:
        made.coordinator()
        for number in (1, 2, 3):
            made.worker(f"edge-{number}")
        yield made.ready()
    finally:
        made.close()


def on_each(cluster: Cluster, **fields: Any) -> list[Json]:
    return [action(f"a{n}", cluster.effects, device=f"edge-{n}", **fields) for n in (1, 2, 3)]


def gate(cluster: Cluster, **fields: Any) -> Json:
    """Fails once its file is there."""
    wait = f"until [ -e {cluster.folder}/gate ]; do sleep 0.02; done; false"
    return action("gate", cluster.effects, then=wait, retry="none", compensate="none", **fields)


def fail_without(cluster: Cluster, device: str, document: Json) -> str:
    """Run it to its gate, kill the worker of `device`, and let it fail then."""
    execution = cluster.client.submit(document)
    wait_until(lambda: "do:gate" in cluster.effects.lines(), description="everything before was done")
    cluster.kill(device)
    cluster.processes[device].wait(timeout=30)
    (cluster.folder / "gate").touch()
    return execution


def undone(cluster: Cluster) -> list[str]:
    return [line.removeprefix("undo:") for line in cluster.effects.lines() if line.startswith("undo:")]


def waits(cluster: Cluster, execution: str) -> bool:
    """Whether it was said that a compensation waits for its device."""
    return any(event["event"] == "rollback:action:waiting" for event in cluster.client.events(execution, follow=False))


def test_the_others_go_on_and_it_is_done_when_its_device_is_back(devices: Cluster) -> None:
    """Side by side the others are undone meanwhile; each effect once."""
    actions = [*on_each(devices), gate(devices, needs=["a1", "a2", "a3"])]
    execution = fail_without(devices, "edge-2", strategy("back", actions, model="parallel"))
    wait_until(lambda: sorted(undone(devices)) == ["a1", "a3"], description="the others are undone")
    wait_until(lambda: waits(devices, execution), description="it is said that edge-2 is missed")
    assert devices.client.status(execution)["rollback"]["status"] == "running"
    devices.again("edge-2")
    report = devices.result(execution)
    assert (report["rollback"]["status"], report["rollback"]["remaining"]) == ("completed", [])
    assert sorted(undone(devices)) == ["a1", "a2", "a3"]


def test_what_its_device_does_not_come_back_for_is_listed(devices: Cluster) -> None:
    """Exactly that, with a reason that names the device; what comes after it in the sequence is still undone."""
    document = strategy("away", [*on_each(devices), gate(devices)], rollback={"timeout": "6s"})
    execution = fail_without(devices, "edge-2", document)
    report = devices.result(execution)
    assert undone(devices) == ["a3", "a1"]
    (left,) = report["rollback"]["remaining"]
    assert (left["action"], left["device"], report["rollback"]["status"]) == ("a2", "edge-2", "partial")
    assert "edge-2" in left["reason"]
    assert [report["actions"][f"a{n}"]["undo"] for n in (1, 2, 3)] == ["compensated", "failed", "compensated"]
    devices.again("edge-2")
    devices.ready(4)
    devices.client.rollback(execution, retry=True)
    report = devices.result(execution)
    assert (report["rollback"]["status"], undone(devices)) == ("completed", ["a3", "a1", "a2"])


def test_one_that_dies_while_it_undoes(devices: Cluster) -> None:
    """Nobody knows how far it came: it is listed and not repeated; what comes after it is undone."""
    actions = on_each(devices)
    actions[1]["compensate"] = {
        "uses": "command", "with": devices.effects.command("undo:a2", then="sleep 60"), "timeout": "90s",
    }  # fmt: skip
    document = strategy("dies", [*actions, gate(devices)], rollback={"timeout": "6s"})
    execution = devices.client.submit(document)
    (devices.folder / "gate").touch()
    wait_until(lambda: "a2" in undone(devices), description="edge-2 undoes")
    devices.kill("edge-2")
    report = devices.result(execution)
    assert undone(devices) == ["a3", "a2", "a1"]
    (left,) = report["rollback"]["remaining"]
    assert (left["action"], left["device"]) == ("a2", "edge-2")


def test_a_snapshot_whose_device_is_gone(devices: Cluster, tmp_path: Path) -> None:
    """The snapshot of the living device is restored; the other one is listed, with what it holds."""
    roots = [tmp_path / f"w{n}" for n in (1, 2)]
    for root in roots:
        root.mkdir()
        (root / "file").write_text("old")
    before = [described(root) for root in roots]
    saved = [
        {"uses": "snapshot.files", "with": {"path": str(root)}, "device": f"edge-{n}"}
        for n, root in enumerate(roots, 1)
    ]
    spoil = [
        {
            "id": f"a{n}", "uses": "command", "device": f"edge-{n}",
            "with": devices.effects.command(f"do:a{n}", then=f"echo new > {root}/file"),
        }
        for n, root in enumerate(roots, 1)
    ]  # fmt: skip
    document = strategy(
        "held", [*spoil, gate(devices)], snapshot=saved, rollback={"mechanism": "snapshot", "timeout": "6s"}
    )
    report = devices.result(fail_without(devices, "edge-2", document))
    assert described(roots[0]) == before[0]
    assert (roots[1] / "file").read_text() == "new\n"
    assert {(left["action"], left["device"]) for left in report["rollback"]["remaining"]} == {
        ("snapshot/2", "edge-2"), ("a2", "edge-2"),
    }  # fmt: skip
    assert report["actions"]["a1"]["undo"] == "compensated"

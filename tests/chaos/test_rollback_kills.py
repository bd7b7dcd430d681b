"""SIGKILL at every step of a rollback: it comes to a good end, undoes nothing twice, and files are as they were."""

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, action, redis_first, strategy
from support.trees import described
from support.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.thorough, redis_first]

Json = dict[str, Any]


def edits(root: Path) -> list[Json]:
    """Three edits of one file, and a new one, all of which restore themselves."""
    root.mkdir()
    (root / "a.conf").write_text("port=80\n")
    os.utime(root / "a.conf", ns=(1_600_000_000_123_456_789, 1_600_000_000_987_654_321))
    made = [
        {"id": f"a{n}", "uses": "file.edit", "with": {"path": f"{root}/a.conf", "append": f"{n}\n"}} for n in range(3)
    ]
    return [*made, {"id": "a3", "uses": "file.create", "with": {"path": f"{root}/b", "content": "b"}}]


def files(root: Path) -> Json:
    """Everything but the time of the directory, which its files change."""
    return {name: told for name, told in described(root).items() if name != str(root)}


def completed(cluster: Cluster, document: Json) -> str:
    """A cluster of one device, on which it runs to its goal."""
    # fused, the script that settles one has claimed the next: two would be in doubt
    cluster.coordinator(REX_EXECUTION__FUSE="false")
    cluster.worker("edge-1")
    execution = cluster.ready().client.submit(document)
    assert cluster.result(execution)["status"] == "completed"
    return execution


def start_anew(cluster: Cluster, name: str, **environment: str) -> None:
    """The same process once more, with this environment."""
    cluster.kill(name)
    cluster.gone(name)
    fused = {"REX_EXECUTION__FUSE": "false", **environment}
    cluster.coordinator(**fused) if name == "control" else cluster.worker(name, **environment)


def commands(cluster: Cluster) -> Json:
    return strategy("undone", [action(f"a{n}", cluster.effects) for n in range(3)])


def undone(cluster: Cluster) -> list[str]:
    return [line.removeprefix("undo:") for line in cluster.effects.lines() if line.startswith("undo:")]


def taken_back(cluster: Cluster, execution: str, dies: str, **how: Any) -> Json:
    """Ask for it, and start again what dies on the way."""
    asking = threading.Thread(target=cluster.client.rollback, args=(execution,), kwargs=how)
    asking.start()
    cluster.again(dies)
    asking.join(timeout=60)
    assert cluster.crashed
    return cluster.result(execution)


@pytest.mark.parametrize("point", ["claim", "pre-settle", "settle"])
def test_a_worker_dies_while_it_restores_files(cluster: Cluster, tmp_path: Path, point: str) -> None:
    """What restores is done again by whoever comes next."""
    root = tmp_path / "w"
    actions = edits(root)
    before = files(root)
    execution = completed(cluster, strategy("edits", actions))
    start_anew(cluster, "edge-1", **cluster.crash_at(point, "a1"))
    report = taken_back(cluster, execution, "edge-1")
    assert (report["rollback"]["status"], report["rollback"]["remaining"]) == ("completed", [])
    assert files(root) == before


@pytest.mark.parametrize("point", ["claim", "pre-settle", "settle"])
def test_a_worker_dies_while_it_compensates(cluster: Cluster, point: str) -> None:
    """What may not be done twice is listed where nobody knows; `--force` does it, and only it."""
    execution = completed(cluster, commands(cluster))
    start_anew(cluster, "edge-1", **cluster.crash_at(point, "a1"))
    report = taken_back(cluster, execution, "edge-1")
    left = [one["action"] for one in report["rollback"]["remaining"]]
    assert left == ([] if point == "settle" else ["a1"])
    assert undone(cluster) == (["a2", "a0"] if point == "claim" else ["a2", "a1", "a0"])
    assert report["rollback"]["status"] == ("completed" if point == "settle" else "partial")
    if left:
        cluster.client.rollback(execution, retry=True, force=True)
        assert cluster.result(execution)["rollback"]["remaining"] == []
        assert Counter(undone(cluster)) == Counter({"a0": 1, "a1": 1 if point == "claim" else 2, "a2": 1})


@pytest.mark.parametrize("point", ["pre-send:ask", "pre-send:rb", "begin", "advance", "pre-send:con"])
def test_the_coordinator_dies(cluster: Cluster, point: str) -> None:
    """Before it has answered what would be done, right after the execution was opened again, and on the way."""
    execution = completed(cluster, commands(cluster))
    at, _, kind = point.partition(":")
    start_anew(cluster, "control", **cluster.crash_at(at, kind or "*"))
    report = taken_back(cluster, execution, "control", timeout_s=40)
    assert (report["status"], report["rollback"]["status"]) == ("rolled_back", "completed")
    assert undone(cluster) == ["a2", "a1", "a0"]
    assert [event["seq"] for event in cluster.client.events(execution)] == list(
        range(1, cluster.client.last_event(execution) + 1)
    )


@pytest.mark.parametrize("moment", ["reopened", "a1"])
def test_the_server_dies(cluster: Cluster, moment: str) -> None:
    """Right after an execution was opened again, and while a compensation runs."""
    document = commands(cluster)
    for made in document["actions"]:
        made["compensate"]["with"] = cluster.effects.command(f"undo:{made['id']}", then="sleep 0.4")
    execution = completed(cluster, document)
    cluster.client.rollback(execution)
    wait_until(lambda: moment in ("reopened", *undone(cluster)), description=f"{moment} is being undone")
    cluster.server.kill()
    cluster.server.start()
    report = cluster.result(execution)
    assert (report["status"], report["rollback"]["remaining"]) == ("rolled_back", [])
    assert undone(cluster) == ["a2", "a1", "a0"]


def spoiled_tree(root: Path) -> Json:
    """A tree of 20 directories with 100 files each that an action removes."""
    for number in range(20):
        folder = root / f"d{number}"
        folder.mkdir(parents=True)
        for file in range(100):
            (folder / f"f{file}").write_text(f"{number}/{file} " * 50)
    remove = {"id": "remove", "uses": "command", "with": {"run": f"rm -r {root}/d*"}}
    return strategy("tree", [remove], snapshot=[{"uses": "snapshot.files", "with": {"path": str(root)}}])


@pytest.mark.parametrize("dies", ["edge-1", "server"])
def test_something_dies_in_the_middle_of_restoring_a_snapshot(cluster: Cluster, tmp_path: Path, dies: str) -> None:
    """It is begun anew, or goes on, and everything is there again."""
    root = tmp_path / "w"
    document = spoiled_tree(root)
    before = described(root)
    execution = completed(cluster, document)
    assert list(root.iterdir()) == []
    cluster.client.rollback(execution, mechanism="snapshot")
    wait_until(lambda: any(root.rglob("f*")), description="files come back")
    if dies == "server":
        cluster.server.kill()
        cluster.server.start()
    else:
        cluster.kill(dies)
        cluster.processes[dies].wait(timeout=30)
        assert 0 < len(list(root.rglob("f*"))) < 2000, "it was not hit in its middle"
        cluster.again(dies)
    report = cluster.result(execution)
    assert (report["rollback"]["status"], report["rollback"]["remaining"]) == ("completed", [])
    assert described(root) == before


@pytest.mark.parametrize("dies", ["control", "server", "begin"])
def test_something_dies_between_the_offer_and_the_choice(cluster: Cluster, dies: str) -> None:
    """The offer stands, the choice is taken, and it is done once; `begin`: right after somebody chose."""
    cluster.coordinator()
    cluster.worker("edge-1")
    bad = action("bad", cluster.effects, then="false", retry="none", compensate="none")
    document = {**commands(cluster), "rollback": {"mechanism": "guided"}}
    execution = cluster.ready().client.submit({**document, "actions": [*document["actions"], bad]})
    offer = wait_until(lambda: cluster.client.offered(execution), description="a choice is offered")
    if dies == "server":
        cluster.server.kill()
        cluster.server.start()
    elif dies == "begin":
        start_anew(cluster, "control", **cluster.crash_at("begin"))
    else:
        cluster.kill(dies)
        cluster.processes[dies].wait(timeout=30)
    assert cluster.client.offered(execution) == offer
    cluster.client.choose(execution, {"a0": "keep"}, by="ann")
    if dies != "server":
        cluster.again("control" if dies == "begin" else dies)
    report = cluster.result(execution)
    assert (report["rollback"]["status"], report["rollback"]["chosen"]["by"]) == ("completed", "ann")
    assert undone(cluster) == ["a2", "a1"]
    assert cluster.crashed is (dies == "begin")

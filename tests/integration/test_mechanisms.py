"""Each mechanism of rollback on a real cluster: what it takes back, keeps, says and refuses."""

import random
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, action, strategy
from support.trees import described

from executor.model.errors import NotAllowedNow

pytestmark = pytest.mark.cluster

Json = dict[str, Any]


def bad(cluster: Cluster, **fields: Any) -> Json:
    return action("bad", cluster.effects, then="false", retry="none", compensate="none", **fields)


def undone(cluster: Cluster) -> list[str]:
    return [line.removeprefix("undo:") for line in cluster.effects.lines() if line.startswith("undo:")]


def left(report: Json) -> dict[str, str]:
    return {one["action"]: one["reason"] for one in report["rollback"]["remaining"]}


# -- partial ----------------------------------------------------------------------------------------------------------


def test_partial_takes_back_what_is_named_and_keeps_the_rest(cluster: Cluster) -> None:
    """The result says both."""
    document = strategy(
        "part", [*(action(f"a{n}", cluster.effects) for n in range(4)), bad(cluster)],
        rollback={"mechanism": "partial", "actions": ["a1", "a3"]},
    )  # fmt: skip
    report = cluster.run(document)
    assert undone(cluster) == ["a3", "a1"]
    assert (report["rollback"]["status"], report["rollback"]["kept"]) == ("completed", ["a0", "a2"])
    assert [one["action"] for one in report["rollback"]["compensated"]] == ["a3", "a1"]
    assert [report["actions"][f"a{n}"]["undo"] for n in range(4)] == ["kept", "compensated", "kept", "compensated"]


def dependent(cluster: Cluster, **fields: Any) -> Json:
    """`made` is of the result of `base`, `after` needs it."""
    made = action("made", cluster.effects, then="echo ${{ actions.base.result.exit_code }}")
    after = action("after", cluster.effects, needs=["base"])
    return strategy("dependent", [action("base", cluster.effects), made, after], **fields)


def test_partial_that_keeps_what_needs_it_is_refused_before_it_runs(cluster: Cluster) -> None:
    """Both are named, and nothing runs."""
    report = cluster.run(dependent(cluster, rollback={"mechanism": "partial", "actions": ["base"]}))
    assert report["status"] == "refused"
    for kept in ("made", "after"):
        assert f"'{kept}' is kept, and needs 'base'" in report["error"]["message"]
    assert cluster.effects.lines() == []


def test_partial_that_keeps_what_needs_it_is_refused_later_too(cluster: Cluster) -> None:
    """By the plan and by the request, with names; with all three of them it is done."""
    execution = cluster.client.submit(dependent(cluster))
    cluster.result(execution)
    refused = cluster.client.plan_rollback(execution, actions=["base"])["refused"]
    assert "'made', 'after' would be kept, and needs 'base'" in refused
    with pytest.raises(NotAllowedNow, match="would be kept"):
        cluster.client.rollback(execution, actions=["base"])
    assert undone(cluster) == []
    cluster.client.rollback(execution, actions=["base", "made", "after"])
    cluster.result(execution)
    assert undone(cluster) == ["after", "made", "base"]


# -- phased -----------------------------------------------------------------------------------------------------------


def test_phased_halts_where_a_probe_does_not_hold(cluster: Cluster, tmp_path: Path) -> None:
    """Phases before that stay done, listed with the reason; those behind it are undone."""
    flag = tmp_path / "flag"
    flag.touch()
    phases = [{"name": name, "actions": [action(name, cluster.effects)]} for name in ("one", "two", "three")]
    phases[1]["actions"][0]["compensate"]["with"] = cluster.effects.command("undo:two", then=f"rm {flag}")
    phases.append({"name": "last", "actions": [bad(cluster)]})
    probe = {"uses": "command", "with": {"run": f"echo verify >> $EFFECTS; test -f {flag}"}, "device": "edge-2"}
    document = strategy("halts", [], model="phased", phases=phases)
    del document["actions"]
    report = cluster.run({**document, "rollback": {"mechanism": "phased", "verify": [probe]}})
    assert [line for line in cluster.effects.lines() if not line.startswith("do:")][:4] == [
        "undo:three", "verify", "undo:two", "verify",
    ]  # fmt: skip
    assert undone(cluster) == ["three", "two"]
    assert (report["status"], report["rollback"]["status"]) == ("failed", "failed")
    assert "one" in left(report)
    assert "ended before its turn" in left(report)["one"]
    assert [name for name in left(report) if name.startswith("verify/")] == ["verify/1/2"]
    assert report["actions"]["one"]["undo"] is None


# -- snapshot ---------------------------------------------------------------------------------------------------------


def tree(root: Path) -> None:
    """A settings file, something large that cannot be compressed, a link and a mode."""
    root.mkdir()
    (root / "a.conf").write_text("port=80\n")
    (root / "large").write_bytes(random.Random(7).randbytes(200_000))
    (root / "large").chmod(0o604)
    (root / "link").symlink_to("a.conf")


def snapshotting(root: Path, *more: Json, **fields: Any) -> Json:
    """An edit that can undo itself, and a command that cannot, in a tree that is saved before."""
    edit = {"id": "edit", "uses": "file.edit", "with": {"path": f"{root}/a.conf", "append": "more=1\n"}}
    tool = {
        "id": "tool", "uses": "command",
        "with": {"run": "echo changed > large && rm link && mkdir new && touch new/file", "cwd": str(root)},
    }  # fmt: skip
    saved = [{"uses": "snapshot.files", "with": {"path": str(root)}}]
    return strategy("saved", [edit, tool, *more], **{"snapshot": saved, **fields})


def test_a_snapshot_is_restored(cluster: Cluster, tmp_path: Path) -> None:
    """What no action could undo is as it was: bytes, links, modes and times; both actions count as taken back."""
    root = tmp_path / "t"
    tree(root)
    before = described(root)
    report = cluster.run(snapshotting(root, bad(cluster), rollback={"mechanism": "snapshot"}))
    assert described(root) == before
    assert (report["rollback"]["status"], left(report)) == ("completed", {})
    assert {report["actions"][name]["undo"] for name in ("edit", "tool")} == {"compensated"}
    assert report["snapshots"][0]["saved"]["files"] == 2


def spoil(cluster: Cluster, *, whole: bool) -> None:
    """Flip a byte in the middle of each pack of saved bytes, or one in every 16."""
    packs = list((cluster.folder / "state").rglob("*.pack"))
    assert packs
    for pack in packs:
        content = bytearray(pack.read_bytes())
        for at in range(0, len(content), 16) if whole else [len(content) // 2]:
            content[at] ^= 0xFF
        pack.chmod(0o600)
        pack.write_bytes(content)


@pytest.mark.parametrize("whole", [pytest.param(False, id="a-byte"), pytest.param(True, id="all-of-it")])
def test_a_damaged_store(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, whole: bool) -> None:
    """What is lost is named; what an action saved itself is restored by that."""
    cluster = Cluster(tmp_path_factory.mktemp("d"))
    root = tmp_path / "t"
    tree(root)
    try:
        cluster.coordinator()
        cluster.worker("edge-1")
        execution = cluster.ready().client.submit(snapshotting(root))
        assert cluster.result(execution)["status"] == "completed"
        spoil(cluster, whole=whole)
        cluster.client.rollback(execution, mechanism="snapshot")
        report = cluster.result(execution)
    finally:
        cluster.close()
    assert (root / "a.conf").read_text() == "port=80\n", report["rollback"]["remaining"]
    assert report["rollback"]["status"] == "partial"
    assert set(left(report)) == {"snapshot/1", "tool"}
    assert str(root) in left(report)["snapshot/1"]
    assert ("large" in left(report)["snapshot/1"]) is not whole
    assert report["actions"]["edit"]["undo"] == "compensated"
    assert (root / "link").is_symlink() is not whole


def test_a_snapshot_that_cannot_be_taken_fails_before_the_first_action(cluster: Cluster, tmp_path: Path) -> None:
    """Nothing was done, so nothing is taken back; the error names what could not be saved."""
    saved = [{"uses": "snapshot.files", "with": {"path": str(tmp_path / "nowhere")}}]
    report = cluster.run(strategy("unsaved", [action("a", cluster.effects)], snapshot=saved))
    assert report["status"] == "failed"
    assert cluster.effects.lines() == []
    assert (report["snapshots"][0]["status"], report["actions"]["a"]["status"]) == ("failed", "cancelled")
    assert "nowhere" in report["error"]["message"] + str(report["snapshots"][0]["error"])
    assert report["rollback"]["remaining"] == []


# -- adaptive ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", [True, False])
def test_adaptive_says_what_it_chose_and_why(cluster: Cluster, tmp_path: Path, lacking: bool) -> None:
    """In `rollback:planned` and in the report alike, with an estimate of each way."""
    root = tmp_path / "t"
    tree(root)
    before = described(root)
    document = snapshotting(root, bad(cluster))
    if not lacking:
        del document["actions"][1]
    execution = cluster.client.submit(document)
    chosen = cluster.result(execution)["rollback"]["chosen"]
    planned = [event for event in cluster.client.events(execution) if event["event"] == "rollback:planned"]
    assert [event["data"]["chosen"] for event in planned] == [chosen]
    ways = {one["mechanism"]: one for one in chosen["estimates"]}
    # nothing would be left either way: then the snapshot is better where it is quicker by a fifth
    quicker = ways["snapshot"]["seconds"] < ways["compensate"]["seconds"] * 0.8
    assert (chosen["asked"], chosen["mechanism"]) == (
        "adaptive", "snapshot" if lacking or quicker else "compensate",
    )  # fmt: skip
    assert {name for name, one in ways.items() if one["possible"]} == {"compensate", "snapshot"}
    assert ways["partial"]["reason"] == "no actions are named"
    assert (ways["compensate"]["left"], ways["snapshot"]["left"]) == (int(lacking), 0)
    assert ("compensate would leave 1 undone" in chosen["reasons"]) is lacking
    assert {name: told for name, told in described(root).items() if not name.endswith("/t")} == {
        name: told for name, told in before.items() if not name.endswith("/t")
    }

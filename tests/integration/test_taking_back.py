"""The world after a failure is the world before: bytes, modes and times; or what is left is listed exactly."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, action, redis_first, strategy

pytestmark = [pytest.mark.cluster, redis_first]


def world(root: Path) -> dict[str, Any]:
    """Everything below `root`: type, mode, bytes and time."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (oct(status.st_mode), content, status.st_mtime_ns if content else None)
    return found


def files(root: Path) -> list[dict[str, Any]]:
    """Nine changes of a small site; a.conf is changed three times."""
    config = str(root / "a.conf")
    return [
        {"id": "edit", "uses": "file.edit",
         "with": {"path": config, "replace": {"pattern": "^port=.*$", "with": "port=1"}}},
        {"id": "append", "uses": "file.edit", "with": {"path": config, "append": "more=1\n"}},
        {"id": "create", "uses": "file.create",
         "with": {"path": str(root / "new/deep/b.txt"), "content": "b", "parents": True, "mode": "600"}},
        {"id": "overwrite", "uses": "file.create",
         "with": {"path": str(root / "bin.dat"), "content": "text now", "overwrite": True}},
        {"id": "set-json", "uses": "file.edit", "with": {"path": str(root / "c.json"), "set": {"a.b": 2}}},
        {"id": "set-yaml", "uses": "file.edit", "with": {"path": str(root / "d.yaml"), "set": {"a": 5}}},
        {"id": "delete", "uses": "file.delete", "with": {"path": str(root / "gone.sh")}},
        {"id": "again", "uses": "file.edit", "with": {"path": config, "content": "wholly=new\n"}},
        {"id": "recreate", "uses": "file.create",
         "with": {"path": str(root / "gone.sh"), "content": "other", "mode": "644"}},
    ]  # fmt: skip


def lay_out(root: Path) -> None:
    root.mkdir()
    (root / "a.conf").write_text("host=x\nport=80\n")
    (root / "bin.dat").write_bytes(bytes(range(256)) * 10)
    (root / "c.json").write_text('{"a": {"b": 1}, "z": []}\n')
    (root / "d.yaml").write_text("# why\na: 1 # here\nb: [1, 2]\n")
    (root / "gone.sh").write_text("#!/bin/sh\n")
    (root / "gone.sh").chmod(0o755)
    (root / "a.conf").chmod(0o640)
    for path in root.iterdir():
        os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_987_654_321))


@pytest.mark.parametrize("failing", range(1, 10))
@pytest.mark.parametrize("model", ["sequential", "parallel"])
def test_files_are_as_they_were(cluster: Cluster, tmp_path: Path, model: str, failing: int) -> None:
    root = tmp_path / "w"
    lay_out(root)
    before = world(root)
    actions = files(root)[:failing]
    if model == "parallel":  # one change a file: side by side their order is open
        once = ("edit", "create", "overwrite", "set-json", "set-yaml", "delete")
        actions = [made for made in actions if made["id"] in once]
    needs = [made["id"] for made in actions]
    bad = action("bad", cluster.effects, then="false", retry="none", compensate="none", needs=needs)
    report = cluster.run(strategy("files", [*actions, bad], model=model))
    assert report["status"] == "failed"
    assert all(a["status"] == "succeeded" for name, a in report["actions"].items() if name != "bad"), report
    assert report["rollback"]["status"] == "completed", report["rollback"]
    assert world(root) == before


def test_what_others_changed_since_is_left_and_listed(cluster: Cluster, tmp_path: Path) -> None:
    root = tmp_path / "w"
    lay_out(root)
    path = root / "a.conf"
    meddle = {"id": "meddle", "uses": "command", "with": {"run": f"echo mine >> {path}"}, "compensate": "none"}
    bad = {"id": "bad", "uses": "command", "with": {"run": "false"}, "retry": "none", "compensate": "none"}
    edits = files(root)
    report = cluster.run(strategy("meddled", [edits[4], edits[0], meddle, bad]))
    assert report["rollback"]["status"] == "partial"
    assert [left["action"] for left in report["rollback"]["remaining"]] == ["edit"]
    assert str(path) in report["rollback"]["remaining"][0]["reason"]
    assert path.read_text() == "host=x\nport=1\nmine\n"
    assert (root / "c.json").read_text() == '{"a": {"b": 1}, "z": []}\n'
    assert report["actions"]["edit"]["undo"] == "failed"


def test_edits_of_one_file_side_by_side_are_taken_back_one_after_the_other(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "shared.txt"
    path.write_text("start\n")
    edits = [{"id": f"e{n}", "uses": "file.edit", "with": {"path": str(path), "append": f"{n}\n"}} for n in range(6)]
    bad = action("bad", cluster.effects, then="false", retry="none", compensate="none", needs=[e["id"] for e in edits])
    report = cluster.run(strategy("shared", [*edits, bad], model="phased", limits={"parallel": 1}))
    assert report["actions"]["bad"]["status"] == "failed", report["error"]
    assert report["rollback"]["remaining"] == []
    assert path.read_text() == "start\n"


def test_a_compensation_that_fails_does_not_stop_the_others(cluster: Cluster) -> None:
    actions = [action(f"a{n}", cluster.effects) for n in range(3)]
    actions[1]["compensate"]["with"] = cluster.effects.command("undo:a1", then="false")
    actions[1]["compensate"]["retry"] = {"max_attempts": 2, "delay": "10ms"}
    report = cluster.run(strategy("partly", [*actions, action("bad", cluster.effects, then="false", retry="none")]))
    assert report["rollback"]["status"] == "partial"
    assert [left["action"] for left in report["rollback"]["remaining"]] == ["a1"]
    undone = [line for line in cluster.effects.lines() if line.startswith("undo")]
    assert undone == ["undo:a2", "undo:a1", "undo:a1", "undo:a0"]
    assert report["actions"]["a1"]["undo"] == "failed"


def test_a_compensation_that_hangs_is_cut(cluster: Cluster) -> None:
    hangs = action("hangs", cluster.effects)
    hangs["compensate"] = {"uses": "command", "with": {"run": "sleep 300"}, "timeout": "300ms", "retry": "none"}
    bad = action("bad", cluster.effects, then="false", retry="none")
    report = cluster.run(strategy("cut", [action("a", cluster.effects), hangs, bad]))
    assert [left["action"] for left in report["rollback"]["remaining"]] == ["hangs"]
    assert cluster.effects.lines()[-1] == "undo:a"


def test_the_time_of_a_rollback_runs_out_and_what_is_left_is_listed(cluster: Cluster) -> None:
    slow = action("slow", cluster.effects)
    slow["compensate"] = {"uses": "command", "with": {"run": "sleep 300"}, "timeout": "200s"}
    bad = action("bad", cluster.effects, then="false", retry="none")
    report = cluster.run(strategy("late", [action("a", cluster.effects), slow, bad], rollback={"timeout": "1s"}))
    assert report["status"] == "failed"
    assert {left["action"] for left in report["rollback"]["remaining"]} == {"a", "slow"}
    assert report["rollback"]["status"] == "partial"


@pytest.mark.parametrize("holds", [True, False])
def test_verify_after_the_rollback(cluster: Cluster, holds: bool) -> None:
    verify = [{"uses": "assert", "with": {"that": "inputs.fine", "message": "it is not as it was"}, "device": "edge-2"}]
    document = strategy(
        "verified", [action("a", cluster.effects), action("bad", cluster.effects, then="false", retry="none")],
        rollback={"verify": verify}, inputs={"fine": {"type": "boolean", "required": True}},
    )  # fmt: skip
    report = cluster.run(document, fine=holds)
    assert report["rollback"]["status"] == ("completed" if holds else "failed")
    told = [(left["action"], "it is not as it was" in left["reason"]) for left in report["rollback"]["remaining"]]
    assert told == ([] if holds else [("verify/1", True)])


def test_no_rollback_when_the_strategy_says_none(cluster: Cluster) -> None:
    actions = [action("a", cluster.effects), action("bad", cluster.effects, then="false", retry="none")]
    report = cluster.run(strategy("kept", actions, rollback={"mechanism": "none"}))
    assert report["rollback"]["status"] == "disabled"
    assert cluster.effects.lines() == ["do:a", "do:bad"]


def test_compensations_see_what_they_take_back(cluster: Cluster) -> None:
    told = action("told", cluster.effects, then="echo 4711")
    told["compensate"]["with"] = {
        "run": "echo undo:${{ result.stdout }}:${{ error == null }}:${{ actions.bad.error.type }} "
        "| tr -d '\\n' >> $EFFECTS"
    }
    bad = action("bad", cluster.effects, then="false", retry="none")
    report = cluster.run(strategy("told", [told, bad]))
    assert report["rollback"]["remaining"] == [], report["rollback"]
    assert cluster.effects.lines()[-1] == "undo:4711:true:ActionError"

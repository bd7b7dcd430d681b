"""What has ended is taken back later, on request: whole or in parts, each effect once; or refused, with why."""

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, action, strategy
from support.trees import described
from support.waiting import wait_until

from executor.model.errors import NotAllowedNow, UnknownExecution

pytestmark = pytest.mark.cluster

Json = dict[str, Any]


def three(cluster: Cluster, root: Path, **fields: Any) -> Json:
    """An edit, a new file in a new directory on another device, and a command with a way back."""
    edit = {"id": "edit", "uses": "file.edit", "with": {"path": f"{root}/a.conf", "content": "port=1\n"}}
    create = {
        "id": "create", "uses": "file.create", "device": "edge-2",
        "with": {"path": f"{root}/new/b", "content": "b", "parents": True},
    }  # fmt: skip
    return strategy("later", [edit, create, action("tool", cluster.effects)], **fields)


def lay_out(root: Path) -> Json:
    root.mkdir()
    (root / "a.conf").write_text("port=80\n")
    (root / "a.conf").chmod(0o640)
    os.utime(root / "a.conf", ns=(1_600_000_000_123_456_789, 1_600_000_000_987_654_321))
    return files(root)


def files(root: Path) -> Json:
    """Everything but the time of the directory, which its files change."""
    return {name: told for name, told in described(root).items() if name != str(root)}


def completed(cluster: Cluster, document: Json) -> str:
    execution = cluster.client.submit(document)
    assert cluster.result(execution)["status"] == "completed"
    return execution


def taken_back(cluster: Cluster, execution: str, **how: Any) -> Json:
    cluster.client.rollback(execution, **how)
    return cluster.result(execution)


def undone(cluster: Cluster) -> list[str]:
    return [line.removeprefix("undo:") for line in cluster.effects.lines() if line.startswith("undo:")]


def left(report: Json) -> dict[str, str]:
    return {one["action"]: one["reason"] for one in report["rollback"]["remaining"]}


def test_a_completed_one_is_taken_back(cluster: Cluster, tmp_path: Path) -> None:
    """It is rolled back then, the files are as before, and the report says who asked."""
    before = lay_out(tmp_path / "w")
    execution = completed(cluster, three(cluster, tmp_path / "w"))
    report = taken_back(cluster, execution, by="ann")
    assert (report["status"], report["rollback"]["status"]) == ("rolled_back", "completed")
    assert [one["action"] for one in report["rollback"]["compensated"]] == ["tool", "create", "edit"]
    assert report["rollback"]["chosen"]["by"] == "ann"
    assert {one["undo"] for one in report["actions"].values()} == {"compensated"}
    assert files(tmp_path / "w") == before
    assert undone(cluster) == ["tool"]


def test_only_some_actions_and_then_the_rest(cluster: Cluster, tmp_path: Path) -> None:
    """What is not named is kept; what is asked for again is done once."""
    before = lay_out(tmp_path / "w")
    execution = completed(cluster, three(cluster, tmp_path / "w"))
    report = taken_back(cluster, execution, actions=["edit", "tool"])
    assert (report["rollback"]["status"], report["rollback"]["kept"]) == ("completed", ["create"])
    assert (tmp_path / "w" / "new" / "b").exists()
    with pytest.raises(NotAllowedNow, match="--retry takes it up"):
        cluster.client.rollback(execution)
    assert taken_back(cluster, execution, retry=True)["rollback"]["remaining"] == []
    assert files(tmp_path / "w") == before
    assert undone(cluster) == ["tool"]


def test_a_dry_run_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """It names steps, devices, seconds, and what cannot be undone; no event is written, and nothing is done."""
    lay_out(tmp_path / "w")
    document = three(cluster, tmp_path / "w")
    lacking = {"id": "lacking", "uses": "command", "with": {"run": "true"}}
    execution = completed(cluster, {**document, "actions": [*document["actions"], lacking]})
    after, report, last = files(tmp_path / "w"), cluster.client.status(execution), cluster.client.last_event(execution)
    planned = cluster.client.plan_rollback(execution)
    steps = [step for stage in planned["stages"] for step in stage["steps"]]
    assert [(step["action"], step["device"]) for step in steps] == [
        ("tool", "edge-1"), ("create", "edge-2"), ("edit", "edge-1"),
    ]  # fmt: skip
    assert all(step["seconds"] >= 0 for step in steps)
    assert planned["seconds"] == pytest.approx(sum(step["seconds"] for step in steps), abs=0.01)
    assert [(row["action"], row["device"]) for row in planned["remaining"]] == [("lacking", "edge-1")]
    assert "refused" not in planned
    assert files(tmp_path / "w") == after
    assert (cluster.client.status(execution), cluster.client.last_event(execution)) == (report, last)
    assert undone(cluster) == []


def test_what_may_not_be_taken_back(cluster: Cluster) -> None:
    """One that runs, that never ran, that is taken back already, and that nobody knows; each is refused, with why."""
    client = cluster.client
    running = client.submit(strategy("runs", [action("a", cluster.effects, then="sleep 60")]))
    wait_until(lambda: cluster.effects.lines() == ["do:a"], description="it runs")
    with pytest.raises(NotAllowedNow, match="rex cancel"):
        client.rollback(running)
    client.cancel(running)
    assert cluster.result(running)["status"] == "cancelled"
    refused = client.submit(strategy("wrong", [{"id": "a", "uses": "nothing.known"}]))
    assert cluster.result(refused)["status"] == "refused"
    with pytest.raises(NotAllowedNow, match="nothing"):
        client.rollback(refused)
    done = completed(cluster, strategy("done", [action("b", cluster.effects)]))
    taken_back(cluster, done)
    with pytest.raises(NotAllowedNow, match="nothing is left"):
        client.rollback(done)
    with pytest.raises(NotAllowedNow, match="nothing is left"):
        client.rollback(done, retry=True)
    with pytest.raises(UnknownExecution):
        client.rollback("nobody-knows-it")
    assert undone(cluster) == ["b"]


def test_cancelled_before_it_began(cluster: Cluster) -> None:
    """Nothing of it ran: there is nothing to take back, and it stays cancelled."""
    execution = cluster.client.submit(strategy("waits", [action("a", cluster.effects, device="edge-nowhere")]))
    cluster.client.cancel(execution)
    assert cluster.result(execution)["status"] == "cancelled"
    with pytest.raises(NotAllowedNow, match="nothing"):
        cluster.client.rollback(execution)
    assert cluster.client.status(execution)["status"] == "cancelled"


def test_what_fails_for_good_is_taken_up_once_it_is_mended(cluster: Cluster, tmp_path: Path) -> None:
    """The others are undone all the same; then the one that failed, and nothing a second time."""
    actions = [action(f"a{n}", cluster.effects) for n in range(4)]
    actions[2]["compensate"].update(
        {"with": {"run": f"test -f {tmp_path}/mended && echo undo:a2 >> $EFFECTS"}, "retry": "none"}
    )
    execution = completed(cluster, strategy("stuck", actions))
    report = taken_back(cluster, execution)
    assert (report["status"], report["rollback"]["status"]) == ("rolled_back", "partial")
    assert list(left(report)) == ["a2"]
    assert undone(cluster) == ["a3", "a1", "a0"]
    with pytest.raises(NotAllowedNow, match="--retry takes it up"):
        cluster.client.rollback(execution)
    (tmp_path / "mended").touch()
    report = taken_back(cluster, execution, retry=True)
    assert (report["rollback"]["status"], left(report)) == ("completed", {})
    assert {one["undo"] for one in report["actions"].values()} == {"compensated"}
    assert Counter(undone(cluster)) == Counter(["a0", "a1", "a2", "a3"])


def test_a_failed_one_is_taken_up_too(cluster: Cluster, tmp_path: Path) -> None:
    """What its own rollback left; it stays failed."""
    a = action("a", cluster.effects)
    a["compensate"].update({"with": {"run": f"test -f {tmp_path}/mended && echo undo:a >> $EFFECTS"}, "retry": "none"})
    bad = action("bad", cluster.effects, then="false", retry="none", compensate="none")
    report = cluster.run(strategy("failed", [a, bad]))
    assert (report["status"], report["rollback"]["status"]) == ("failed", "partial")
    (tmp_path / "mended").touch()
    report = taken_back(cluster, report["execution_id"], retry=True)
    assert (report["status"], report["rollback"]["status"], undone(cluster)) == ("failed", "completed", ["a"])


@pytest.mark.parametrize("how", ["stop", "none", "cancelled"])
def test_what_was_left_as_it_was_is_taken_back_later(cluster: Cluster, how: str) -> None:
    """A halt, no rollback by the strategy, or a cancel that undoes nothing; its status stays."""
    last = {"then": "sleep 60"} if how == "cancelled" else {"then": "false", "retry": "none"}
    last.update({"on_failure": "stop"} if how == "stop" else {})
    actions = [action("a", cluster.effects), action("b", cluster.effects), action("last", cluster.effects, **last)]
    fields = {"rollback": {"mechanism": "none"}} if how == "none" else {}
    execution = cluster.client.submit(strategy("left", actions, **fields))
    if how == "cancelled":
        wait_until(lambda: "do:last" in cluster.effects.lines(), description="it runs")
        cluster.client.cancel(execution, undo=False)
    status = cluster.result(execution)["status"]
    assert (status, undone(cluster)) == ("cancelled" if how == "cancelled" else "failed", [])
    report = taken_back(cluster, execution)
    assert (report["status"], undone(cluster)) == (status, ["b", "a"])
    assert list(left(report)) == (["last"] if how == "cancelled" else [])


@pytest.mark.parametrize("saved", [False, True], ids=["by-its-action", "by-a-snapshot"])
def test_what_others_changed_since_is_left(cluster: Cluster, tmp_path: Path, saved: bool) -> None:
    """It is listed with "changed since", everything else is as before; with force it is restored, too."""
    root = tmp_path / "w"
    before = lay_out(root)
    snapshot = {"snapshot": [{"uses": "snapshot.files", "with": {"path": str(root)}}]} if saved else {}
    execution = completed(cluster, three(cluster, root, **snapshot))
    (root / "a.conf").write_text("by somebody else\n")
    report = taken_back(cluster, execution, mechanism="snapshot" if saved else "compensate")
    assert report["rollback"]["status"] == "partial", report["rollback"]
    assert any(str(root / "a.conf") in why and "changed" in why and "since" in why for why in left(report).values())
    assert (root / "a.conf").read_text() == "by somebody else\n"
    assert not (root / "new").exists()
    report = taken_back(cluster, execution, retry=True, force=True)
    assert (report["rollback"]["status"], left(report)) == ("completed", {})
    assert files(root) == before
    assert undone(cluster) == ["tool"]


def slow(cluster: Cluster) -> str:
    made = action("a", cluster.effects)
    made["compensate"]["with"] = cluster.effects.command("undo:a", then="sleep 0.3")
    return completed(cluster, strategy("twice", [made]))


def test_of_several_requests_at_once_one_is_done(cluster: Cluster) -> None:
    """Each effect is undone once, whoever asks."""
    execution = slow(cluster)
    refused: list[str] = []

    def ask(name: str) -> None:
        try:
            cluster.client.rollback(execution, by=name)
        except NotAllowedNow:
            refused.append(name)

    askers = [threading.Thread(target=ask, args=(f"p{n}",)) for n in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    report = cluster.result(execution)
    assert (report["rollback"]["status"], undone(cluster)) == ("completed", ["a"])
    assert report["rollback"]["chosen"]["by"] not in refused
    assert [event["event"] for event in cluster.client.events(execution)].count("rollback:started") == 1
    assert len(refused) == 5


def test_asking_twice_with_one_request_id_is_one_rollback(cluster: Cluster) -> None:
    """Also while it runs, and when it has ended: whoever lost the answer may ask again."""
    execution = slow(cluster)
    cluster.client.rollback(execution, request_id="one")
    cluster.client.rollback(execution, request_id="one")
    assert cluster.result(execution)["rollback"]["status"] == "completed"
    cluster.client.rollback(execution, request_id="one")
    assert undone(cluster) == ["a"]
    assert [event["event"] for event in cluster.client.events(execution)].count("rollback:started") == 1


def test_watchers_see_its_last_end(cluster: Cluster) -> None:
    """Events are numbered without a gap over both lives, and whoever follows sees the end of the second."""
    execution = completed(cluster, strategy("watched", [action("a", cluster.effects)]))
    first = cluster.client.last_event(execution)
    seen: list[Json] = []
    cluster.client.rollback(execution)
    watcher = threading.Thread(target=lambda: seen.extend(cluster.client.events(execution)))
    watcher.start()
    watcher.join(timeout=30)
    assert not watcher.is_alive()
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    names = [event["event"] for event in seen]
    assert (names[first - 1], names[first], names[-1]) == (
        "execution:completed", "rollback:started", "execution:rolled_back",
    )  # fmt: skip
    assert len({event["id"] for event in seen}) == len(seen)

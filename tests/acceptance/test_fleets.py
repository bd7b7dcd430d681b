"""Actions on several devices, and the choice of a device, with real workers; judged by what the actions wrote."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cluster import UNTIRED, Cluster, Effects
from support.commands import REX
from support.waiting import wait_until

from executor.model.errors import NotAllowedNow

pytestmark = pytest.mark.cluster

DEVICES = [f"d{number}" for number in range(1, 7)]


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Six devices in two zones, of which one has a compiler; one failed device of a fan-out is borne."""
    made = Cluster(tmp_path_factory.mktemp("f"), **UNTIRED)
    made.coordinator(REX_DISTRIBUTED__DEVICE_FAILURE_THRESHOLD="1", REX_DISTRIBUTED__DEVICE_WAIT="1s")
    made.worker("d1", "d2", "d3", name="east", concurrency=6, REX_LABELS="zone=east", REX_CAPABILITIES="compiler")
    made.worker("d4", "d5", name="west", concurrency=6, REX_LABELS="zone=west")
    made.worker("d6", name="west-6", concurrency=6, REX_LABELS="zone=west", REX_CAPABILITIES="gpu")
    try:
        yield made.ready()
    finally:
        made.close()


@pytest.fixture
def cluster(six: Cluster) -> Cluster:
    """With an empty effect log."""
    six.effects.path.write_text("")
    return six


def restart(effects: Effects, then: str = "sleep 0.15", **more: Any) -> dict[str, Any]:
    """An action that tells when it begins and when it ends on a device, and the same on its way back."""

    def told(word: str, between: str) -> dict[str, Any]:
        steps = [f"echo {word}:{what}:${{{{ device.id }}}} >> $EFFECTS" for what in ("begin", "end")]
        return {"run": f"{steps[0]} && {{ {between}; }} && {steps[1]}"}

    back = {"uses": "command", "with": told("undo", "sleep 0.1"), "retry": "none"}
    one = {"id": "restart", "uses": "command", "with": told("do", then), "compensate": back, "retry": "none"}
    return {**one, **more}


def strategy(*actions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "fleet", "actions": list(actions), "limits": {"parallel": 50}, **more}


def at_once(effects: Effects, word: str) -> int:
    """How many devices were at it at the same time, at most."""
    most, there = 0, set[str]()
    for kind, what, device in (line.split(":") for line in effects.lines()):
        if kind == word:
            there ^= {device}
            assert (device in there) == (what == "begin")
            most = max(most, len(there))
    return most


def done(effects: Effects, word: str, what: str = "end") -> list[str]:
    return [line.split(":")[2] for line in effects.lines() if line.startswith(f"{word}:{what}:")]


def test_a_fan_out_runs_on_every_device_and_is_read_by_device(cluster: Cluster) -> None:
    """All that live, with a result for each."""
    look = {
        "id": "look", "uses": "assert", "device": "d1", "needs": ["restart"],
        "with": {"that": "actions.restart.result.size() == 6 && actions.restart.result['d3'].exit_code == 0"},
    }  # fmt: skip
    met = "actions.restart.status == 'succeeded' && actions.restart.result['d6'].stdout == ''"
    report = cluster.run(strategy(restart(cluster.effects, devices="all"), look, success_criteria=[met]))
    assert report["status"] == "completed", report["error"]
    assert sorted(done(cluster.effects, "do")) == DEVICES
    assert {name: one["device"] for name, one in report["actions"].items() if "@" in name} == {
        f"restart@{device}": device for device in DEVICES
    }
    assert report["fan_outs"] == {
        "restart": {"status": "succeeded", "devices": DEVICES, "ended": {"succeeded": 6}, "bearable": 0}
    }  # fmt: skip
    assert at_once(cluster.effects, "do") > 1


@pytest.mark.parametrize(("said", "most"), [(1, 1), ("50%", 3)])
def test_never_more_than_may_be_are_at_it_at_once(cluster: Cluster, said: int | str, most: int) -> None:
    """Forward, and on the way back."""
    failing = {"id": "prove", "uses": "assert", "device": "d1", "with": {"that": "false"}, "retry": "none"}
    report = cluster.run(strategy(restart(cluster.effects, devices="all", max_unavailable=said), failing))
    assert (report["status"], report["rollback"]["status"]) == ("failed", "completed")
    for word in ("do", "undo"):
        assert sorted(done(cluster.effects, word)) == DEVICES
        # a busy machine may keep some of them from meeting
        assert min(most, 2) <= at_once(cluster.effects, word) <= most


def test_after_too_many_failures_no_further_device_is_touched(cluster: Cluster) -> None:
    """One is borne; the second ends it, and what was done is taken back, on each device by itself."""
    broken = "case ${{ device.id }} in d2|d4) false;; esac"
    one = restart(cluster.effects, broken, devices=DEVICES, max_unavailable=1, on_failure="continue")
    one["compensate"]["after"] = "started"
    report = cluster.run(strategy(one))
    assert report["status"] == "failed"
    assert report["error"]["action"] == "restart@d4" or report["error"]["action"] == "restart@d2"
    begun = done(cluster.effects, "do", "begin")
    assert {"d2", "d4"} <= set(begun)
    assert begun[-1] in ("d2", "d4")
    assert len(begun) == len(set(begun))
    assert sorted(done(cluster.effects, "undo")) == sorted(begun)
    never = set(DEVICES) - set(begun)
    assert {report["actions"][f"restart@{device}"]["status"] for device in never} <= {"cancelled", "pending"}


def test_one_device_is_taken_back_and_the_others_stay(cluster: Cluster) -> None:
    """By the id of its instance; refused where something that is kept needs it."""
    second = restart(cluster.effects, "true", id="check", devices=["d1", "d2"], needs=["restart"])
    report = cluster.run(strategy(restart(cluster.effects, "true", devices={"labels": {"zone": "east"}}), second))
    assert report["status"] == "completed"
    execution = report["execution_id"]
    cluster.effects.path.write_text("")
    with pytest.raises(NotAllowedNow, match=r"'check@d2' would be kept, and needs 'restart@d2'"):
        cluster.client.rollback(execution, actions=["restart@d2"])
    with pytest.raises(NotAllowedNow, match=r"it has no action 'restart@d6'"):
        cluster.client.rollback(execution, actions=["restart@d6"])
    cluster.client.rollback(execution, actions=["restart@d2", "check@d2"])
    again = cluster.result(execution)
    assert [(one["action"], one["device"]) for one in again["rollback"]["compensated"]] == [
        ("check@d2", "d2"), ("restart@d2", "d2"),
    ]  # fmt: skip
    assert done(cluster.effects, "undo") == ["d2", "d2"]
    cluster.client.rollback(execution, actions=["restart", "check"])
    assert cluster.result(execution)["rollback"]["status"] == "completed"
    assert sorted(done(cluster.effects, "undo")) == ["d1", "d1", "d2", "d2", "d3"]


def test_a_device_that_nobody_serves_holds_up_only_itself(cluster: Cluster) -> None:
    """Named, it is waited for; the others roll on, and it fails in the end."""
    one = restart(cluster.effects, "true", devices=["d1", "gone", "d2"], max_unavailable=1, on_failure="continue")
    report = cluster.run(strategy(one))
    assert report["status"] == "completed"
    assert report["degraded"]
    assert report["actions"]["restart@gone"]["error"]["type"] == "NoDevice"
    assert sorted(done(cluster.effects, "do")) == ["d1", "d2"]


def test_what_nobody_has_is_said_at_once(cluster: Cluster) -> None:
    """A fan-out is refused; an action waits for somebody, and says for whom; both say what there is."""
    refused = cluster.run(strategy(restart(cluster.effects, devices={"labels": {"zone": "mars"}})))
    assert refused["status"] == "refused"
    there = "no living device has the label zone=mars: there are zone=east (d1, d2, d3), zone=west (d4, d5, d6)"
    assert there in refused["error"]["message"]
    execution = cluster.client.submit(strategy(restart(cluster.effects, capabilities=["tpu"])))
    wait_until(lambda: "waiting_for" in cluster.client.status(execution), description="it waits")
    said = "no living device announces tpu: there are compiler (d1, d2, d3), gpu (d6)"
    assert cluster.client.status(execution)["waiting_for"].startswith(said)
    report = cluster.result(execution)
    assert (report["status"], report["error"]["type"]) == ("failed", "NoDevice")
    assert cluster.effects.lines() == []


def test_rex_plan_shows_where_each_action_would_go_and_why(cluster: Cluster, tmp_path: Path) -> None:
    """As a tree, and as JSON."""
    file = tmp_path / "s.json"
    build = restart(cluster.effects, id="build", capabilities=["gpu"])
    copy = restart(cluster.effects, id="copy", needs=["build"])
    file.write_text(json.dumps(strategy(build, copy, restart(cluster.effects, devices="all", max_unavailable=2))))

    def rex(*arguments: str) -> str:
        argv = [REX, "plan", str(file), *arguments]
        ran = subprocess.run(argv, env=cluster.environment(), text=True, capture_output=True, timeout=60, check=True)
        return ran.stdout

    told = json.loads(rex("--json"))
    actions = {
        one["id"]: one for stage in told["stages"] for message in stage["messages"] for one in message["actions"]
    }
    assert (actions["build"]["device"], actions["build"]["placed"]) == (
        "d6", "the only one to offer command and announce gpu: 0 of 6 busy",
    )  # fmt: skip
    assert (actions["copy"]["device"], actions["copy"]["placed"]) == ("d6", "beside build, which it needs")
    assert [name for name in actions if "@" in name] == [f"restart@{device}" for device in DEVICES]
    assert actions["restart@d1"]["fan_out"] == {"of": "restart", "at_once": 2}
    tree = rex()
    assert "build there: the only one to offer command and announce gpu" in tree
    assert "restart on at most 2 devices at once" in tree

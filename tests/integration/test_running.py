"""How single actions run: retry, timeout, when, success, fallback, data, criteria, limits, secrets."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, action, both_brokers, strategy
from support.rabbitmq import RabbitNode

pytestmark = [pytest.mark.cluster, both_brokers]


def test_a_flaky_action_is_tried_again_until_it_succeeds(cluster: Cluster, tmp_path: Path) -> None:
    flaky = {"id": "flaky", "uses": "command", "compensate": "none",
             "with": {"run": "echo x >> tries; test $(wc -l < tries) -ge 3", "cwd": str(tmp_path)}}  # fmt: skip
    report = cluster.run(strategy("flaky", [flaky, action("next", cluster.effects)]))
    assert report["status"] == "completed"
    assert report["actions"]["flaky"]["attempts"] == 3
    assert cluster.effects.lines() == ["do:next"]


def test_an_action_that_fails_each_time_ends_after_its_attempts(cluster: Cluster) -> None:
    failing = action("bad", cluster.effects, then="false", retry={"max_attempts": 2, "delay": "10ms"})
    report = cluster.run(strategy("bad", [failing]))
    assert report["status"] == "failed"
    assert report["actions"]["bad"]["attempts"] == 2
    assert cluster.effects.lines() == ["do:bad", "do:bad"]


def test_a_timeout_cuts_the_whole_tree_and_what_nobody_knows_is_listed(cluster: Cluster, tmp_path: Path) -> None:
    hanging = {"id": "hangs", "uses": "command", "timeout": "500ms", "retry": "none",
               "with": {"run": "setsid sleep 300 & echo $! > pid; wait", "cwd": str(tmp_path)},
               "compensate": {"uses": "command", "with": cluster.effects.command("undo:hangs")}}  # fmt: skip
    report = cluster.run(strategy("hangs", [action("before", cluster.effects), hanging]))
    assert report["actions"]["hangs"]["status"] == "timed_out"
    assert report["rollback"]["status"] == "partial"
    assert [left["action"] for left in report["rollback"]["remaining"]] == ["hangs"]
    assert report["rollback"]["remaining"][0]["reason"].startswith("hangs was broken off (")
    assert cluster.effects.lines() == ["do:before", "undo:before"]
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_after_started_is_taken_back_though_it_failed(cluster: Cluster) -> None:
    bad = action("bad", cluster.effects, then="false", retry="none")
    bad["compensate"]["after"] = "started"
    report = cluster.run(strategy("started", [bad]))
    assert cluster.effects.lines() == ["do:bad", "undo:bad"]
    assert report["rollback"]["status"] == "completed"
    assert report["actions"]["bad"]["undo"] == "compensated"


def test_when_is_false_and_what_needs_it_runs_all_the_same(cluster: Cluster) -> None:
    actions = [
        action("first", cluster.effects),
        action("skipped", cluster.effects, when="actions.first.status != 'succeeded'"),
        action("after", cluster.effects, needs=["skipped"]),
    ]
    report = cluster.run(strategy("when", actions))
    assert report["actions"]["skipped"]["status"] == "skipped"
    assert cluster.effects.lines() == ["do:first", "do:after"]


def test_continue_notes_a_failure_and_skips_what_needs_it(cluster: Cluster) -> None:
    actions = [
        action("bad", cluster.effects, then="false", retry="none", on_failure="continue"),
        action("needs-it", cluster.effects, needs=["bad"]),
        action("needs-its-end", cluster.effects, needs=[{"id": "bad", "require": "ended"}]),
        action("free", cluster.effects),
    ]
    report = cluster.run(strategy("goes-on", actions))
    assert report["status"] == "completed"
    assert report["degraded"] is True
    assert report["actions"]["needs-it"]["status"] == "skipped"
    assert cluster.effects.lines() == ["do:bad", "do:needs-its-end", "do:free"]


def test_more_failures_than_are_borne_roll_back(cluster: Cluster) -> None:
    bad = [action(f"bad{n}", cluster.effects, then="false", retry="none", on_failure="continue") for n in range(3)]
    report = cluster.run(strategy("borne", [action("good", cluster.effects), *bad], limits={"max_failures": 1}))
    assert report["status"] == "failed"
    assert cluster.effects.lines() == ["do:good", "do:bad0", "do:bad1", "undo:good"]


def test_stop_halts_and_undoes_nothing(cluster: Cluster) -> None:
    actions = [
        action("good", cluster.effects),
        action("bad", cluster.effects, then="false", retry="none", on_failure="stop"),
        action("never", cluster.effects),
    ]
    report = cluster.run(strategy("stops", actions))
    assert report["status"] == "failed"
    assert cluster.effects.lines() == ["do:good", "do:bad"]
    assert report["actions"]["never"]["status"] == "cancelled"
    assert report["rollback"]["status"] == "not_needed"


def test_success_that_does_not_hold_is_a_failure_and_is_taken_back(cluster: Cluster) -> None:
    wrong = action("wrong", cluster.effects, then="echo 7", success="result.stdout.contains('8')", retry="none")
    report = cluster.run(strategy("postcondition", [wrong]))
    assert report["actions"]["wrong"]["status"] == "failed"
    assert cluster.effects.lines() == ["do:wrong", "undo:wrong"]


def test_a_fallback_succeeds_and_both_are_taken_back_the_fallback_first(cluster: Cluster) -> None:
    first = action("first", cluster.effects, then="false", retry="none")
    first["compensate"]["after"] = "started"
    first["fallback"] = {
        "uses": "command", "with": cluster.effects.command("do:fallback"),
        "compensate": {"uses": "command", "with": cluster.effects.command("undo:fallback")},
    }  # fmt: skip
    report = cluster.run(strategy("falls-back", [first]))
    assert report["status"] == "completed"
    assert report["degraded"] is True
    assert report["actions"]["first"]["degraded"] is True
    assert report["actions"]["first"]["error"]["message"]
    report = cluster.run(strategy("falls-back", [first, action("bad", cluster.effects, then="false", retry="none")]))
    assert cluster.effects.lines()[2:] == ["do:first", "do:fallback", "do:bad", "undo:fallback", "undo:first"]
    assert report["rollback"]["status"] == "completed"


def test_data_goes_from_action_to_action_with_its_type(cluster: Cluster) -> None:
    actions = [
        {"id": "ask-it", "uses": "command", "compensate": "none",
         "with": {"argv": ["echo", '{"port": 8080, "names": ["a b", "c"]}'], "parse": "json"}},
        {"id": "use-it", "uses": "command", "compensate": "none", "success": "result.parsed == 'a b 8080 x y'",
         "with": {"run": "echo ${{ actions['ask-it'].result.parsed.names[0] }} "
                         "${{ actions['ask-it'].result.parsed.port }} ${{ inputs.word }}"}},
    ]  # fmt: skip
    report = cluster.run(
        strategy(
            "data", actions, inputs={"word": {"type": "string", "required": True}},
            success_criteria=["actions['ask-it'].result.parsed.port == 8080", "inputs.word == 'x y'"],
        ), word="x y",
    )  # fmt: skip
    assert report["status"] == "completed", report["error"]
    assert [c["met"] for c in report["success_criteria"]] == [True, True]


def test_unmet_criteria_roll_back(cluster: Cluster) -> None:
    report = cluster.run(
        strategy("criteria", [action("a", cluster.effects)], success_criteria=["actions.a.result.exit_code == 1"])
    )
    assert report["status"] == "failed"
    assert report["error"]["type"] == "Unmet"
    assert cluster.effects.lines() == ["do:a", "undo:a"]


def test_an_unmet_verify_of_a_phase_stops_there(cluster: Cluster) -> None:
    phases = [
        {"name": "one", "actions": [action("a", cluster.effects, device="edge-1")],
         "verify": "actions.a.result.exit_code == 5"},
        {"name": "two", "actions": [action("b", cluster.effects, device="edge-1")]},
    ]  # fmt: skip
    report = cluster.run({"name": "verified", "model": "phased", "phases": phases})
    assert report["status"] == "failed"
    assert "one" in report["error"]["message"]
    assert cluster.effects.lines() == ["do:a", "undo:a"]


def test_the_time_of_an_execution_runs_out(cluster: Cluster) -> None:
    actions = [action("a", cluster.effects), action("long", cluster.effects, then="sleep 60", timeout="120s")]
    actions[1]["compensate"]["after"] = "started"
    report = cluster.run(strategy("late", actions, limits={"timeout": "1s"}))
    assert report["status"] == "failed"
    assert cluster.effects.lines() == ["do:a", "do:long", "undo:long", "undo:a"]


def test_a_secret_is_used_and_never_shown(tmp_path_factory: pytest.TempPathFactory, rabbit: RabbitNode | None) -> None:
    cluster = Cluster(tmp_path_factory.mktemp("c"), rabbit=rabbit)
    try:
        cluster.coordinator()
        cluster.worker("edge-1", PAYMENTS_TOKEN="very-secret-token")
        cluster.ready()
        tells = {"id": "tells", "uses": "command", "compensate": "none",
                 "with": {"run": "echo got $T >&2; echo $T; exit 4", "env": {"T": "secret://env/PAYMENTS_TOKEN"}},
                 "retry": "none"}  # fmt: skip
        report = cluster.run(strategy("secret", [tells]))
        assert report["status"] == "failed"
        everything = (
            json.dumps(report) + json.dumps(list(cluster.client.events(report["execution_id"]))) + cluster.logs()
        )
        assert "***" in everything
        assert "very-secret-token" not in everything
        raw = cluster.server.client()
        dump = b"".join(path.read_bytes() for path in (cluster.server.folder / "appendonlydir").iterdir())
        if rabbit is not None:
            dump += b"".join(path.read_bytes() for path in rabbit.folder.rglob("*") if path.is_file())
        raw.close()
        assert b"very-secret-token" not in dump
    finally:
        cluster.close()


def test_cancel_takes_back_what_was_done(cluster: Cluster) -> None:
    actions = [action("a", cluster.effects), action("long", cluster.effects, then="sleep 60", timeout="120s")]
    actions[1]["compensate"]["after"] = "started"
    execution = cluster.client.submit(strategy("cancelled", actions))
    for event in cluster.client.events(execution):
        if event["event"] == "execution:action:started" and event["data"]["action"] == "long":
            cluster.client.cancel(execution, reason="enough")
    report: dict[str, Any] = cluster.result(execution)
    assert report["status"] == "cancelled"
    assert report["error"]["message"] == "cancelled: enough"
    assert cluster.effects.lines()[-2:] == ["undo:long", "undo:a"]

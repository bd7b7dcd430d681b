"""What happens when an action fails: again, another way, go on, or everything back."""

from pathlib import Path
from typing import Any

import pytest

from executor import ResolutionClient

pytestmark = pytest.mark.cluster

FAILS = {"id": "fails", "uses": "command", "with": {"run": "exit 1"}, "retry": "none", "compensate": "none"}


def run(client: ResolutionClient, *actions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return client.result(client.submit({"name": "fundamental", "actions": list(actions), **fields}), timeout_s=30)


def test_a_failed_attempt_is_repeated(client: ResolutionClient, world: Path) -> None:
    """What fails once and can pass is tried again."""
    once = f"test -e {world}/tried || {{ touch {world}/tried; exit 1; }}"
    report = run(client, {**FAILS, "with": {"run": once}, "retry": {"max_attempts": 2, "delay": "10ms"}})
    assert (report["status"], report["actions"]["fails"]["attempts"]) == ("completed", 2)


def test_files_take_themselves_back(client: ResolutionClient, world: Path) -> None:
    """The strategy says nothing about it: byte for byte as it was."""
    edit = {"id": "edit", "uses": "file.edit", "with": {"path": f"{world}/site.conf", "content": "workers=4\n"}}
    report = run(client, edit, FAILS)
    assert (report["status"], report["rollback"]["status"]) == ("failed", "completed")
    assert report["actions"]["edit"]["undo"] == "compensated"
    assert (world / "site.conf").read_text() == "workers=0\n"


def test_the_way_back_of_a_command_is_declared(client: ResolutionClient, world: Path) -> None:
    """Newest first."""

    def logged(name: str) -> dict[str, Any]:
        back = {"uses": "command", "with": {"run": f"echo undo {name} >> {world}/log"}}
        return {"id": name, "uses": "command", "with": {"run": f"echo {name} >> {world}/log"}, "compensate": back}

    run(client, logged("first"), logged("second"), FAILS)
    assert (world / "log").read_text().splitlines() == ["first", "second", "undo second", "undo first"]


def test_what_cannot_be_taken_back_is_listed(client: ResolutionClient) -> None:
    """For a person: the action, where, what it did, and why it is left."""
    report = run(client, {"id": "mail", "uses": "command", "device": "edge-1", "with": {"run": "true"}}, FAILS)
    assert report["rollback"]["status"] == "partial"
    assert report["rollback"]["remaining"] == [
        {
            "action": "mail",
            "device": "edge-1",
            "reason": "it was done, and no way back is declared",
            "what": "command true",
        }
    ]


def test_a_fallback_is_a_second_way(client: ResolutionClient) -> None:
    """The action has succeeded, degraded."""
    report = run(client, {**FAILS, "fallback": {"uses": "wait", "with": {"for": "1ms"}}})
    assert (report["status"], report["degraded"]) == ("completed", True)


def test_a_failure_may_be_borne(client: ResolutionClient) -> None:
    """It is noted, and the run goes on."""
    rest = {"id": "rest", "uses": "wait", "with": {"for": "1ms"}}
    report = run(client, {**FAILS, "on_failure": "continue"}, rest)
    assert (report["status"], report["degraded"]) == ("completed", True)
    assert [action["status"] for action in report["actions"].values()] == ["failed", "succeeded"]


def test_an_unmet_criterion_is_a_failure(client: ResolutionClient, world: Path) -> None:
    """Every action has succeeded, and the goal was not reached: all of it is taken back."""
    new = {"id": "new", "uses": "file.create", "with": {"path": f"{world}/new", "content": ""}}
    report = run(client, new, success_criteria=["!actions.new.result.created"])
    assert (report["status"], report["actions"]["new"]["undo"]) == ("failed", "compensated")
    assert not (world / "new").exists()


def test_a_cancel_takes_back_what_was_done(client: ResolutionClient, world: Path) -> None:
    """No action begins any more, what runs is ended, and the world is as before."""
    new = {"id": "new", "uses": "file.create", "with": {"path": f"{world}/new", "content": ""}}
    execution = client.submit(
        {"name": "long", "actions": [new, {"id": "long", "uses": "wait", "with": {"for": "20s"}}]}
    )
    for event in client.events(execution):
        if event["event"] == "execution:action:started" and event["data"]["action"] == "long":
            client.cancel(execution, reason="enough")
    report = client.result(execution, timeout_s=30)
    assert (report["status"], report["rollback"]["status"]) == ("cancelled", "completed")
    assert not (world / "new").exists()

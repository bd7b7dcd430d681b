"""From a strategy to its report: what a run is, what it is given, and what it answers."""

import asyncio
from pathlib import Path

import pytest

from executor import Action, AsyncResolutionClient, ResolutionClient, Strategy, UnknownExecution

pytestmark = pytest.mark.cluster


def test_a_strategy_is_submitted_and_its_report_is_waited_for(client: ResolutionClient, world: Path) -> None:
    """The shortest program there is."""
    edit = {"path": f"{world}/site.conf", "content": "workers=4\n"}
    strategy = {"name": "edit", "actions": [{"id": "edit", "uses": "file.edit", "with": edit}]}
    execution = client.submit(strategy)
    assert client.result(execution, timeout_s=30)["status"] == "completed"
    assert (world / "site.conf").read_text() == "workers=4\n"


def test_a_strategy_is_built_in_python(client: ResolutionClient) -> None:
    """The models are the file's structure."""
    strategy = Strategy(name="built", actions=[Action(id="rest", uses="wait", device="edge-2", with_={"for": "1ms"})])
    report = client.result(client.submit(strategy), timeout_s=30)
    assert report["actions"]["rest"]["device"] == "edge-2"


def test_a_run_is_given_inputs(client: ResolutionClient, world: Path) -> None:
    """What differs from run to run is declared, and read by expressions."""
    strategy = {
        "name": "with-inputs",
        "inputs": {"text": {"type": "string", "required": True}},
        "actions": [
            {"id": "new", "uses": "file.create", "with": {"path": f"{world}/new", "content": "${{ inputs.text }}"}}
        ],
    }
    client.result(client.submit(strategy, inputs={"text": "hello"}), timeout_s=30)
    assert (world / "new").read_text() == "hello"


def test_an_action_reads_what_another_found_out(client: ResolutionClient) -> None:
    """The result of an action is data for those that come later, and for the criteria at the end."""
    strategy = {
        "name": "data",
        "actions": [
            {"id": "find", "uses": "command", "with": {"run": "echo 41", "parse": "json"}, "compensate": "none"},
            {
                "id": "use",
                "uses": "command",
                "with": {"run": "expr ${{ actions.find.result.parsed }} + 1", "parse": "json"},
                "compensate": "none",
            },
        ],
        "success_criteria": ["actions.use.result.parsed == 42"],
    }
    report = client.result(client.submit(strategy), timeout_s=30)
    assert report["success_criteria"] == [{"expression": "actions.use.result.parsed == 42", "met": True}]


def test_a_run_tells_what_happens(client: ResolutionClient) -> None:
    """Every change is an event; the last one is the end."""
    execution = client.submit({"name": "told", "actions": [{"id": "rest", "uses": "wait", "with": {"for": "1ms"}}]})
    names = [event["event"] for event in client.events(execution)]
    assert names == [
        "execution:submitted", "execution:started", "execution:stage:started", "execution:action:started",
        "execution:action:completed", "execution:completed",
    ]  # fmt: skip


def test_a_wrong_strategy_is_refused_whole(client: ResolutionClient) -> None:
    """Nothing runs, and every problem is named with what would be right."""
    wrong = {"name": "wrong", "actions": [{"id": "a", "uses": "wayt"}, {"id": "a", "uses": "wait", "with": {}}]}
    report = client.result(client.submit(wrong), timeout_s=30)
    assert (report["status"], report["actions"]) == ("refused", {})
    assert "did you mean 'wait'?" in report["error"]["message"]
    assert "the id 'a' is used twice" in report["error"]["message"]


def test_submitting_twice_is_submitting_once(client: ResolutionClient, world: Path) -> None:
    """Who may be interrupted between deciding and submitting chooses the id."""
    once = {"run": f"echo once >> {world}/log"}
    strategy = {"name": "once", "actions": [{"id": "a", "uses": "command", "with": once, "compensate": "none"}]}
    for _ in range(2):
        execution = client.submit(strategy, execution_id="order-4711")
    client.result(execution, timeout_s=30)
    assert (world / "log").read_text() == "once\n"


async def waited(url: str) -> str:
    async with AsyncResolutionClient(url) as client:
        execution = await client.submit({"name": "a", "actions": [{"id": "a", "uses": "wait", "with": {"for": "1ms"}}]})
        report = await client.result(execution, timeout_s=30)
    return str(report["status"])


def test_the_client_can_be_awaited(client: ResolutionClient) -> None:
    """The same methods, for programs with an event loop."""
    assert asyncio.run(waited(client._url)) == "completed"


def test_an_unknown_execution_is_an_error(client: ResolutionClient) -> None:
    """It says where to look."""
    with pytest.raises(UnknownExecution, match="rex list"):
        client.status("never-was")

"""What only a kind of agent may do, only a device of that kind does, and takes back."""

from pathlib import Path

import pytest
from support.cluster import Cluster, action, strategy
from support.waiting import wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture
def agents(tmp_path: Path) -> object:
    made = Cluster(tmp_path)
    made.coordinator()
    made.worker("plain")
    made.worker("bot", REX_AGENTS="bot:coder")
    try:
        yield made.ready()
    finally:
        made.close()


def failing(cluster: Cluster, **fields: object) -> dict[str, object]:
    last = {"id": "bad", "uses": "assert", "device": "plain", "with": {"that": "false"}}
    return {"name": "s", "actions": [action("a", cluster.effects, agent="coder", **fields), last]}


def test_it_is_placed_by_kind_and_taken_back_there(agents: Cluster) -> None:
    """The device of that kind is chosen, though another is as free, and its compensation runs there too."""
    report = agents.run(failing(agents))
    assert report["actions"]["a"]["device"] == "bot"
    assert [(one["action"], one["device"]) for one in report["rollback"]["compensated"]] == [("a", "bot")]
    assert agents.effects.lines() == ["do:a", "undo:a"]


def test_a_device_of_another_kind_refuses(agents: Cluster) -> None:
    """Whoever names a device that is no such agent is told so, and nothing is done."""
    report = agents.run(failing(agents, device="plain", retry="none"))
    assert report["status"] == "failed"
    assert "plain is no agent here, and a is for one of kind coder" in report["error"]["message"]
    assert agents.effects.lines() == []


def test_an_agent_that_came_back_as_another_kind_takes_nothing_back(agents: Cluster) -> None:
    """A way back needs the same kind; without it the action is listed."""
    gate = agents.folder / "gate"
    waiting = {"id": "gate", "uses": "command", "device": "plain",
               "with": {"run": f"until [ -e {gate} ]; do sleep 0.02; done; false"}, "retry": "none"}  # fmt: skip
    execution = agents.client.submit(strategy("s", [action("a", agents.effects, agent="coder", device="bot"), waiting]))
    wait_until(lambda: agents.effects.lines() == ["do:a"], description="it was done")
    agents.kill("bot")
    agents.gone("bot")
    agents.worker("bot", REX_AGENTS="bot:tester")
    agents.ready()
    gate.touch()
    report = agents.result(execution)
    (left,) = report["rollback"]["remaining"]
    assert (left["action"], left["device"]) == ("a", "bot")
    assert "bot is an agent of kind tester here" in left["reason"]
    assert agents.effects.lines() == ["do:a"]

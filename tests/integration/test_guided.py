"""A rollback that a person guides: undo, keep or retry; nobody is held while it waits."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, action, strategy
from support.waiting import wait_until

from executor.model.errors import NotAllowedNow

pytestmark = pytest.mark.cluster

Json = dict[str, Any]


def guided(cluster: Cluster, then: str = "false") -> Json:
    """Two actions, one that ends with `then`, and one after it."""
    gate = action("gate", cluster.effects, then=then, retry="none")
    actions = [action("a0", cluster.effects), action("a1", cluster.effects), gate, action("last", cluster.effects)]
    return strategy("guided", actions, rollback={"mechanism": "guided"})


def asked(cluster: Cluster, document: Json) -> str:
    """Submit it, and wait until it offers a choice."""
    execution = cluster.client.submit(document)
    wait_until(lambda: cluster.client.offered(execution), description="a choice is offered")
    return execution


def undone(cluster: Cluster) -> list[str]:
    return [line.removeprefix("undo:") for line in cluster.effects.lines() if line.startswith("undo:")]


def test_undo_and_keep(cluster: Cluster) -> None:
    """What was chosen, by whom and when; what is left out gets the default."""
    execution = asked(cluster, guided(cluster))
    before = cluster.server.client().time()[0] * 1000
    cluster.client.choose(execution, {"a0": "keep"}, by="ann")
    report = cluster.result(execution)
    assert undone(cluster) == ["a1"]
    rollback = report["rollback"]
    assert (rollback["status"], rollback["kept"], rollback["remaining"]) == ("completed", ["a0"], [])
    assert (rollback["chosen"]["by"], rollback["chosen"]["choices"]) == ("ann", {"a0": "keep"})
    assert before <= rollback["chosen"]["at_ms"] < before + 60_000
    names = [event["event"] for event in cluster.client.events(execution)]
    told = [name for name in names if name.startswith("rollback:") and "action" not in name]
    assert told == ["rollback:started", "rollback:waiting", "rollback:chosen", "rollback:planned", "rollback:completed"]


def test_retry_goes_on_once_the_cause_is_mended(cluster: Cluster, tmp_path: Path) -> None:
    """What was done stays done and is not done again; the execution reaches its goal."""
    execution = asked(cluster, guided(cluster, f"test -f {tmp_path}/mended"))
    (tmp_path / "mended").touch()
    cluster.client.choose(execution, {"gate": "retry"}, by="ann")
    report = cluster.result(execution)
    assert (report["status"], report["error"], report["rollback"]["status"]) == ("completed", None, "not_needed")
    assert cluster.effects.lines() == ["do:a0", "do:a1", "do:gate", "do:gate", "do:last"]
    assert cluster.client.offered(execution) is None


def test_retry_that_fails_again_asks_again(cluster: Cluster) -> None:
    """And what is chosen then is done."""
    execution = asked(cluster, guided(cluster))
    cluster.client.choose(execution, {"gate": "retry"})
    wait_until(
        lambda: cluster.effects.lines().count("do:gate") == 2 and cluster.client.offered(execution),
        description="it is asked again",
    )
    cluster.client.choose(execution, {"a0": "undo", "a1": "undo"})
    assert cluster.result(execution)["rollback"]["status"] == "completed"
    assert undone(cluster) == ["a1", "a0"]


def test_one_choice_counts(cluster: Cluster) -> None:
    """Of several at once one is taken, the others are refused; later ones too."""
    execution = asked(cluster, guided(cluster))
    took: list[str] = []

    def choose(name: str) -> None:
        wish = "keep" if name == "p0" else "undo"
        try:
            cluster.client.choose(execution, {"a0": wish, "a1": wish}, by=name)
            took.append(name)
        except NotAllowedNow:
            pass

    people = [threading.Thread(target=choose, args=(f"p{n}",)) for n in range(6)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    report = cluster.result(execution)
    assert took == [report["rollback"]["chosen"]["by"]]
    assert undone(cluster) == ([] if took == ["p0"] else ["a1", "a0"])
    with pytest.raises(NotAllowedNow, match="does not wait for a choice"):
        cluster.client.choose(execution, {"a0": "undo"})


def test_a_choice_that_is_not_offered(cluster: Cluster) -> None:
    """It is refused with what would be right, and the execution still waits."""
    execution = asked(cluster, guided(cluster))
    with pytest.raises(ValueError, match="there is nothing to choose for 'last'"):
        cluster.client.choose(execution, {"last": "undo"})
    with pytest.raises(ValueError, match="retry is not possible for 'a0': one of undo, keep"):
        cluster.client.choose(execution, {"a0": "retry"})
    with pytest.raises(ValueError, match="retry goes on with the execution"):
        cluster.client.choose(execution, {"gate": "retry", "a0": "undo"})
    assert cluster.client.offered(execution)
    cluster.client.choose(execution, {})
    assert cluster.result(execution)["rollback"]["status"] == "completed"


@pytest.fixture
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One worker for one action at a time; a choice is waited for only shortly, and what was done is kept then."""
    made = Cluster(tmp_path_factory.mktemp("g"), REX_ROLLBACK__CHOICE_TIMEOUT="3s", REX_ROLLBACK__CHOICE_DEFAULT="keep")
    try:
        made.coordinator()
        made.worker("edge-1", concurrency=1)
        yield made.ready()
    finally:
        made.close()


def test_nobody_is_held_while_it_waits_and_the_default_is_done(impatient: Cluster) -> None:
    """Another execution runs through meanwhile; when the time is over what is configured is done, and told."""
    execution = asked(impatient, guided(impatient))
    other = impatient.run(strategy("other", [action("other", impatient.effects)]))
    assert other["status"] == "completed"
    assert impatient.client.offered(execution), "it waits no longer"
    report = impatient.result(execution)
    assert undone(impatient) == []
    assert report["rollback"]["kept"] == ["a0", "a1"]
    chosen = report["rollback"]["chosen"]
    assert (chosen["by"], chosen["at_ms"]) == ("", None)
    assert chosen["reasons"] == ["nobody chose in time: keep is configured"]


def test_guided_later(cluster: Cluster) -> None:
    """Of a completed one a person is asked, too; what was kept can be taken back after that."""
    execution = cluster.client.submit(strategy("later", [action(f"a{n}", cluster.effects) for n in range(3)]))
    assert cluster.result(execution)["status"] == "completed"
    cluster.client.rollback(execution, mechanism="guided", by="ann")
    offer = wait_until(lambda: cluster.client.offered(execution), description="a choice is offered")
    assert {name: one["wishes"] for name, one in offer["actions"].items()} == {
        f"a{n}": ["undo", "keep"] for n in range(3)
    }
    cluster.client.choose(execution, {"a1": "keep"}, by="bob")
    report = cluster.result(execution)
    assert (report["status"], report["rollback"]["kept"]) == ("rolled_back", ["a1"])
    assert (report["rollback"]["chosen"]["by"], undone(cluster)) == ("bob", ["a2", "a0"])
    cluster.client.rollback(execution, retry=True)
    assert cluster.result(execution)["rollback"]["kept"] == []
    assert undone(cluster) == ["a2", "a0", "a1"]


def test_one_that_failed_long_ago_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    """Its strategy wanted nothing taken back; the cause is mended later, and a person lets it go on to its goal."""
    document = {**guided(cluster, f"test -f {tmp_path}/mended"), "rollback": {"mechanism": "none"}}
    report = cluster.run(document)
    assert (report["status"], report["rollback"]["status"]) == ("failed", "disabled")
    execution = report["execution_id"]
    (tmp_path / "mended").touch()
    cluster.client.rollback(execution, mechanism="guided")
    offer = wait_until(lambda: cluster.client.offered(execution), description="a choice is offered")
    assert "retry" in offer["actions"]["gate"]["wishes"]
    cluster.client.choose(execution, {"gate": "retry"}, by="ann")
    report = cluster.result(execution)
    assert (report["status"], report["error"]) == ("completed", None)
    assert cluster.effects.lines() == ["do:a0", "do:a1", "do:gate", "do:gate", "do:last"]
    cluster.client.rollback(execution, mechanism="compensate")
    assert cluster.result(execution)["status"] == "rolled_back"
    assert undone(cluster) == ["last", "gate", "a1", "a0"]

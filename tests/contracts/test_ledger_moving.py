"""What a lost or drained device was to do goes to another one, as far as it may; old messages do nothing."""

import json

import pytest
from support.ledgers import CHOSEN, WRONG, AnyLedger, Tried, in_group, in_sequence, outbox, step
from support.waiting import wait_until

from executor.ledger.memory import MemoryLedger
from executor.model.device import Drained
from executor.model.execution import Answer, Ended, Move, Outgoing
from executor.model.plan import RetryRule


def move(ledger: AnyLedger, *messages: str, generation: int = 0, lost: str = "edge-1", to: str = "edge-2") -> list[str]:
    """Each message is named by its actions, with a space between two."""
    split = tuple(tuple(message.split()) for message in messages)
    return ledger.move("E1", generation, [Move(lost, to, split, "edge-1 is gone", f"{lost} is gone")])


def drain(ledger: AnyLedger, device: str) -> None:
    told = json.dumps({"by": "ann", "reason": "new disks", "at_ms": 1})
    if isinstance(ledger, MemoryLedger):
        ledger._store.drained[device] = told
    else:
        ledger._client.hset(ledger._key("drained"), device, told)


def test_what_has_not_begun_moves_where_its_device_was_our_choice(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group([step("a", movable=True), step("b")]))
    assert move(ledger, "a", "b", "nobody") == ["a"]
    assert (tried.row("a")["at"], tried.row("b")) == ("edge-2", {})
    assert ledger.moved_to("E1", 0, ["a", "b"]) == {"a": "edge-2"}
    assert move(ledger, "a") == []  # it is not there any more
    assert move(ledger, "a", lost="edge-2", to="edge-2") == []
    (told,) = [event for event in ledger.events("E1") if event["event"] == "execution:action:moved"]
    assert told["data"] == {"action": "a", "from": "edge-1", "to": "edge-2", "reason": "edge-1 is gone"}


def test_that_a_device_is_lost_is_told_once_for_each_execution(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group([step(name, movable=True) for name in "abc"]))
    move(ledger, "a")
    move(ledger, "b")
    move(ledger, "a", lost="edge-2", to="edge-3")
    ledger.move("E1", 0, [Move("edge-9", "edge-3", (("c",),), "drained")])
    told = [event["data"] for event in ledger.events("E1") if event["event"] == "distributed:device:failed"]
    assert told == [{"device": name, "error": f"{name} is gone"} for name in ("edge-1", "edge-2")]
    assert tried.events().count("execution:action:moved") == 3


def test_a_claim_where_it_is_not_any_more_changes_nothing(ledger: AnyLedger) -> None:
    """Old messages in the queue of a device that is back are harmless; where it is now, it runs."""
    tried = Tried(ledger).start(in_group([step("a", movable=True)]))
    assert isinstance(got := claim(ledger, at="edge-2"), Answer)
    assert (got.kind, got.detail) == ("moved", "edge-1")
    move(ledger, "a")
    assert isinstance(got := claim(ledger, at="edge-1"), Answer)
    assert (got.kind, got.detail) == ("moved", "edge-2")
    assert tried.status("a") == "ready"
    run = claim(ledger, at="edge-2")
    assert not isinstance(run, Answer)
    assert (run.step.device, tried.row("a")["device"]) == ("edge-2", "edge-2")
    # also while it runs elsewhere: the old message is not parked
    assert isinstance(got := claim(ledger, at="edge-1"), Answer)
    assert got.kind == "moved"
    tried.settle(run)
    assert isinstance(got := claim(ledger, at="edge-1"), Answer)
    assert got.kind == "done"


def claim(ledger: AnyLedger, *, at: str, nonce: str = "") -> object:
    return ledger.claim("E1", 0, ["a"], holder="w1", nonce=nonce or f"n-{at}", signature="the message", at=at)


def test_a_claim_that_knows_no_device_runs_where_the_action_is(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group([step("a", movable=True)]))
    move(ledger, "a")
    assert tried.claim("a").step.device == "edge-2"
    assert '"device": "edge-2"' in json.dumps(ledger.events("E1")[-1])


def test_a_repeated_claim_of_a_moved_one_gets_the_same_answer(ledger: AnyLedger) -> None:
    Tried(ledger).start(in_group([step("a", movable=True)]))
    move(ledger, "a")
    assert claim(ledger, at="edge-2", nonce="n") == claim(ledger, at="edge-2", nonce="n")


@pytest.mark.parametrize(
    ("said", "moves"),
    [
        ({"movable": True}, False),
        ({"movable": True, "idempotent": True}, True),
        ({"movable": True, "reach": True}, True),
        ({"idempotent": True, "reach": True}, False),
    ],
)
def test_what_has_begun_moves_where_it_may_run_again(ledger: AnyLedger, said: dict[str, bool], moves: bool) -> None:
    tried = Tried(ledger).start(in_group([step("a", **said)]))
    tried.claim("a")
    assert move(ledger, "a") == []  # it runs
    ledger.expire("w1", ("E1", 0, "a"), sure=True, error=WRONG)
    assert move(ledger, "a") == (["a"] if moves else [])
    if moves:
        again = tried.claim("a", holder="w2")
        assert (again.probe, again.attempt, again.step.device) == (True, 1, "edge-2")


@pytest.mark.parametrize("reach", [False, True])
def test_what_may_stand_on_the_lost_device_is_remembered(ledger: AnyLedger, reach: bool) -> None:
    """Where another device reaches it, it is the same effect; else it begins anew there."""
    tried = Tried(ledger).start(in_group([step("a", movable=True, idempotent=True, reach=reach)]))
    held = tried.claim("a")
    ledger.record_undo(held, {"data": 1})
    ledger.expire("w1", ("E1", 0, "a"), sure=True, error=WRONG)
    move(ledger, "a")
    row = tried.row("a")
    if reach:
        assert (row["effect"], json.loads(row["undo"]), "left" in row) == ("unknown", {"data": 1}, False)
        return
    assert ("effect" in row, "undo" in row) == (False, False)
    assert json.loads(row["left"]) == [
        {"device": "edge-1", "effect": "unknown", "undo": {"data": 1}, "effect_fallback": "none", "undo_fallback": None}
    ]
    again = tried.claim("a", holder="w2")
    assert again.undo is None
    ledger.expire("w2", ("E1", 0, "a"), sure=True, error=WRONG)
    move(ledger, "a", lost="edge-2", to="edge-3")
    assert [one["device"] for one in json.loads(tried.row("a")["left"])] == ["edge-1", "edge-2"]


def test_an_attempt_that_did_nothing_leaves_nothing(ledger: AnyLedger) -> None:
    steps = [step("a", movable=True, idempotent=True, retry=RetryRule(max_attempts=2))]
    tried = Tried(ledger).start(in_group(steps))
    tried.settle(tried.claim("a"), "retry")
    assert move(ledger, "a") == []  # it waits to be tried again
    ledger.due(9)
    assert move(ledger, "a") == ["a"]
    assert "left" not in tried.row("a")
    assert [name for name in outbox(ledger) if name.startswith("p:")] == []  # its old message is not sent again


def test_a_fused_message_moves_whole_or_not_at_all(ledger: AnyLedger) -> None:
    steps = [step("a", movable=True), step("b", movable=True), step("c")]
    tried = Tried(ledger).start(in_sequence(steps))
    assert move(ledger, "a b c") == []
    assert move(ledger, "a b") == ["a", "b"]
    got = tried.settle(tried.claim("a"), then=["b"])
    assert got.following is not None
    assert got.following.step.device == "edge-2"  # type: ignore[union-attr]


def test_what_follows_in_a_fused_message_is_asked_for_where_it_is(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_sequence([step("a", movable=True), step("b", movable=True)]))
    held = tried.claim("a")
    got = ledger.settle(held, Ended("succeeded"), holder="w1", nonce="x", following=["b"], next_nonce="y", at="edge-9")
    assert isinstance(got.following, Answer)
    assert got.following.kind == "moved"


def test_what_comes_later_in_a_sequence_moves_only_with_what_comes_next(ledger: AnyLedger) -> None:
    steps = [step(name, movable=True) for name in "abc"]
    tried = Tried(ledger).start(in_sequence(steps))
    assert move(ledger, "b", "c") == []
    tried.do("a")
    assert move(ledger, "b", "c") == ["b", "c"]
    assert [name for name in outbox(ledger) if name.startswith("ag:")] == ["ag:E1|0|1"]


def test_its_message_is_published_again_until_that_was_done(ledger: AnyLedger) -> None:
    Tried(ledger).start(in_group([step(name, movable=True) for name in "abc"]))
    ledger.strike(item.id for item in ledger.due(9)[0])
    move(ledger, "a", "c")
    (name,) = [name for name in outbox(ledger) if name.startswith("ag:")]
    ledger.strike([name + "#0"])
    assert name in outbox(ledger)
    # a sender that died is replaced
    found = lambda: [item for item in ledger.due(9)[0] if item.id.startswith("ag:")]  # noqa: E731
    (item,) = wait_until(found, description="the entry is due")
    assert item.entry == {"kind": "again", "execution": "E1", "generation": 0, "stage": 0, "actions": ["a", "c"]}
    ledger.strike([item.id])
    assert name not in outbox(ledger)


def test_who_waits_for_a_slot_queues_again_elsewhere(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group([step(name, movable=True) for name in "abc"]), parallel=1)
    held = tried.claim("a")
    assert (tried.answer("b"), tried.answer("c")) == ("park", "park")
    assert move(ledger, "b") == ["b"]
    assert ledger.waiting("E1", 0, ["b", "c"]) == {"c"}
    assert tried.answer("b") == "park"
    tried.settle(held)
    assert tried.answer("b") == "park"  # c was first
    assert tried.answer("c") == "run"


def test_compensations_move_as_they_say(ledger: AnyLedger) -> None:
    tried = Tried(ledger).fail()
    undo = {"purpose": "undo", "undoes": "a", "on_failure": "continue"}
    tried.begin(in_group([step("u", movable=True, reach=True, **undo), step("v", **undo)]))
    ledger.abandon_all("E1", 1, {"u": WRONG, "v": WRONG}, wait_s=9)
    assert tried.field("waiting_for")
    assert move(ledger, "u", "v", generation=1) == ["u"]
    assert tried.field("waiting_for") is None  # who else waits says so again
    assert tried.claim("u", generation=1).step.device == "edge-2"
    assert "rollback:action:moved" in tried.events()


def test_a_drained_device_begins_nothing_new(ledger: AnyLedger) -> None:
    """What has begun there goes on there, and so does a rollback; what is parked moves, where it may."""
    tried = Tried(ledger).start(in_group([step("a", movable=True), step("b"), step("c")]), parallel=3)
    tried.settle(tried.claim("c"), "retry")
    ledger.due(9)
    drain(ledger, "edge-1")
    assert ledger.drained() == {"edge-1": Drained(by="ann", reason="new disks", at_ms=1)}
    assert tried.ask("a", park=False) == Answer("signature", "a")
    assert tried.ask("a") == Answer("park", "a", "drained")
    assert tried.answer("b") == "park"
    assert noted(ledger, "edge-1") == {"E1|0|a", "E1|0|b"}
    assert ledger.waiting("E1", 0, ["a", "b"]) == {"a", "b"}
    assert move(ledger, "a") == ["a"]
    assert noted(ledger, "edge-1") == {"E1|0|b"}
    assert tried.answer("a") == "run"
    tried.settle(tried.claim("c"), "failed")
    ledger.expire("w1", ("E1", 0, "a"), sure=True, error=WRONG)
    assert tried.begin(in_group([step("u", purpose="undo", undoes="c", on_failure="continue")]))
    assert tried.answer("u", generation=1) == "run"


def noted(ledger: AnyLedger, device: str) -> set[str]:
    """Who is parked because a device is drained; ending that sends them out."""
    if isinstance(ledger, MemoryLedger):
        return {"|".join(map(str, place)) for place in ledger._store.drainpark[device]}
    return set(ledger._client.smembers(ledger._key("drainpark", device)))


def test_who_was_woken_for_a_slot_on_a_drained_device_gives_it_back(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group([step("a"), step("b"), step("c", device="edge-2")]), parallel=1)
    held = tried.claim("a")
    assert (tried.answer("b"), tried.answer("c")) == ("park", "park")
    drain(ledger, "edge-1")
    tried.settle(held)
    assert tried.answer("b") == "park"
    assert tried.answer("c") == "run"


def test_only_what_needs_it_has_the_new_format(ledger: AnyLedger) -> None:
    """So that workers of the release before go on with everything else."""
    tried = Tried(ledger).start(in_group("a"))
    assert tried.field("format") == "1"
    tried.do("a", status="failed")
    tried.begin(in_group([step("u", movable=True, reach=True, purpose="undo", undoes="a")]))
    assert tried.field("format") == "2"
    other = Tried(ledger, "E2").start(in_group([step("a", movable=True)]))
    assert other.field("format") == "2"


def test_what_goes_on_by_a_persons_wish_is_where_its_plan_has_it(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group([step("a", movable=True)]))
    move(ledger, "a")
    tried.do("a", status="failed")
    assert ledger.resume("E1", CHOSEN, ["a"], timeout_s=9)
    assert tried.claim("a").step.device == "edge-1"


@pytest.mark.parametrize("reach", [True, False])
@pytest.mark.parametrize("fallback", [True, False])
def test_what_goes_on_where_it_had_begun_stays_there(ledger: AnyLedger, reach: bool, fallback: bool) -> None:
    """Its effect, its undo record and whoever may still know of it are there; its message goes there too."""
    tried = Tried(ledger).start(in_group([step("a", movable=True, reach=reach), step("b")]))
    move(ledger, "a")
    held = tried.claim("a")
    ledger.record_undo(held, {"data": 1})
    tried.do("b", status="failed")
    marks = {"effect_fallback": "unknown"} if fallback else {}
    tried.settle(held, "cancelled", effect="none" if fallback else "unknown", marks=marks)
    assert ledger.resume("E1", CHOSEN, ["a", "b"], timeout_s=9)
    assert ledger.moved_to("E1", 0, ["a", "b"]) == {"a": "edge-2"}
    (entry,) = [item.entry for item in wait_until(lambda: stages_due(ledger), description="the stage is due")]
    assert entry == {"kind": "stage", "execution": "E1", "generation": 0, "stage": 0, "moved": True}
    again = tried.claim("a")
    assert (again.step.device, again.undo, again.probe) == ("edge-2", {"data": 1}, not fallback)


def stages_due(ledger: AnyLedger) -> list[Outgoing]:
    return [item for item in ledger.due(9)[0] if item.id.startswith("st:")]


def broken_off(ledger: AnyLedger, **said: bool) -> Tried:
    """One that goes on by a person's wish, and of which somebody is asked first whether it was done."""
    tried = Tried(ledger).start(in_group([step("a", **said), step("b")]))
    held = tried.claim("a")
    tried.do("b", status="failed")
    tried.settle(held, "cancelled", effect="unknown")
    assert ledger.resume("E1", CHOSEN, ["a", "b"], timeout_s=9)
    assert ("attempt" in tried.row("a"), tried.row("a")["probe"]) == (False, "1")
    return tried


@pytest.mark.parametrize("reach", [True, False])
def test_what_is_asked_for_first_has_begun(ledger: AnyLedger, reach: bool) -> None:
    """It goes on where somebody can tell: not on a device that knows nothing of it."""
    tried = broken_off(ledger, movable=True, reach=reach)
    assert move(ledger, "a") == (["a"] if reach else [])
    assert tried.claim("a").probe


def test_what_is_asked_for_first_goes_on_where_its_device_is_drained(ledger: AnyLedger) -> None:
    tried = broken_off(ledger)
    drain(ledger, "edge-1")
    assert (tried.answer("a"), tried.answer("b")) == ("run", "park")


def test_open_stages_tell_that_something_was_moved(ledger: AnyLedger) -> None:
    Tried(ledger).start(in_group([step("a", movable=True)]))
    assert ledger.open_stages()["E1"].moves == 0
    move(ledger, "a")
    assert ledger.open_stages()["E1"].moves == 1

"""What moves where when a device is lost or drained, and what waits."""

from collections.abc import Sequence
from typing import Any

from support.ledgers import step

from executor.distribution.failover import Loss, Wait, decide, devices_of, stranded_in, told_waiting
from executor.model.errors import NoDevice
from executor.model.execution import Move
from executor.model.plan import Stage, Step, group, sequence

GONE = Loss("no worker serves device 'edge-1'", "Start one")
YOUNG = Loss("no worker serves device 'edge-1'", "Start one", young=True)
DRAINED = Loss("device 'edge-1' is drained by ann", "End that", dead=False)


def losing(loss: Loss) -> Any:
    return lambda device: loss if device == "edge-1" else None


def to_edge_2(steps: Sequence[Step]) -> tuple[str, str]:
    return "edge-2", "it does least"


def nobody(steps: Sequence[Step]) -> tuple[str, str]:
    raise NoDevice(f"no device offers {steps[0].call.uses}.")


def decided(stage: Stage, steps: list[Step], rows: Any = None, loss: Loss = GONE, place: Any = to_edge_2) -> Any:
    found = stranded_in(stage, rows or {}, 0, losing(loss))
    return decide(found, {one.id: one for one in steps}, place)


def moved(got: Any) -> list[tuple[str, ...]]:
    return [message for move in got.moves for message in move.messages]


def test_what_was_placed_by_us_moves_and_what_is_bound_waits() -> None:
    steps = [step("a", movable=True), step("b"), step("c", movable=True, device="edge-3"), step("d", movable=True)]
    got = decided(group(steps), steps)
    (move,) = got.moves
    assert (move.lost, move.to, move.messages) == ("edge-1", "edge-2", (("a",), ("d",)))
    assert move.reason == "no worker serves device 'edge-1'; edge-2: it does least"
    assert move.error == "no worker serves device 'edge-1'"
    assert got.waits == {"b": Wait("edge-1", GONE)}


def test_what_ended_or_runs_or_waits_to_be_tried_again_is_left_alone() -> None:
    steps = [step(name, movable=True) for name in "abc"]
    rows = {"a": {"status": "succeeded"}, "b": {"status": "running"}, "c": {"status": "waiting"}}
    got = decided(group(steps), steps, rows)
    assert (got.moves, got.waits) == ([], {})


def test_what_has_begun_moves_only_where_it_may_run_again_or_is_reached() -> None:
    steps = [
        step("a", movable=True), step("b", movable=True, idempotent=True), step("c", movable=True, reach=True),
        step("d", idempotent=True),
    ]  # fmt: skip
    begun = {one.id: {"status": "ready", "attempt": "1", "probe": "1"} for one in steps}
    got = decided(group(steps), steps, begun)
    assert moved(got) == [("b",), ("c",)]
    assert set(got.waits) == {"a", "d"}


def test_what_is_asked_for_first_has_begun() -> None:
    """Its attempts were forgotten when a person let it go on; that it may stand on its device was not."""
    steps = [step("a", movable=True), step("b", movable=True, reach=True)]
    begun = {one.id: {"status": "ready", "probe": "1"} for one in steps}
    got = decided(group(steps), steps, begun)
    assert (moved(got), set(got.waits)) == ([("b",)], {"a"})
    drained = decided(group(steps), steps, begun, DRAINED)
    assert (drained.moves, drained.waits) == ([], {})


def test_a_device_that_may_be_back_in_a_moment_keeps_what_has_not_begun() -> None:
    """What was broken off goes at once; what only waited is neither moved nor told to wait."""
    steps = [step("a", movable=True), step("b", movable=True, idempotent=True), step("c")]
    got = decided(group(steps), steps, {"b": {"status": "ready", "attempt": "1"}}, YOUNG)
    assert moved(got) == [("b",)]
    assert set(got.waits) == {"c"}


def test_where_nobody_else_can_it_waits_and_says_so() -> None:
    steps = [step("a", movable=True)]
    got = decided(group(steps), steps, place=nobody)
    assert got.moves == []
    told = told_waiting("a", got.waits["a"], "up to 60 s")
    assert told["message"] == (
        "no worker serves device 'edge-1', which a needs, and no other takes it (no device offers wait); "
        "waiting up to 60 s. Start one"
    )


def test_a_sequence_moves_from_its_head_on() -> None:
    names = [step("a", movable=True), step("b", movable=True), step("c", device="edge-3"), step("d", movable=True)]
    (stage,) = sequence(names, length=9, fuse=True)
    assert moved(decided(stage, names)) == [("a", "b"), ("d",)]
    assert moved(decided(stage, names, {"a": {"status": "succeeded"}})) == [("b",), ("d",)]
    # its head is on a living device: nothing moves before it is their turn
    rows = {"a": {"status": "succeeded"}, "b": {"status": "succeeded"}}
    assert moved(decided(stage, names, rows)) == []
    # its head stays, and so does the rest
    bound = [step("a"), *names[1:]]
    (stage,) = sequence(bound, length=9, fuse=True)
    got = decided(stage, bound)
    assert (moved(got), set(got.waits)) == ([], {"a"})


def test_what_moves_otherwise_is_not_fused() -> None:
    steps = [step("a", movable=True), step("b"), step("c"), step("d", movable=True, reach=True)]
    (stage,) = sequence(steps, length=9, fuse=True)
    assert stage.messages == (("a",), ("b", "c"), ("d",))


def test_a_drained_device_finishes_what_has_begun() -> None:
    steps = [step("a", movable=True), step("b", idempotent=True), step("c")]
    got = decided(group(steps), steps, {"b": {"status": "ready", "attempt": "1"}}, DRAINED)
    (move,) = got.moves
    assert (move.messages, move.error) == ((("a",),), "")
    assert set(got.waits) == {"c"}
    assert "drained by ann" in told_waiting("c", got.waits["c"], "a while")["message"]


def test_a_drained_device_takes_back_what_it_did() -> None:
    steps = [step("u", movable=True, reach=True, purpose="undo")]
    assert stranded_in(group(steps), {}, 1, losing(DRAINED)) == []
    assert len(stranded_in(group(steps), {}, 1, losing(GONE))) == 1


def test_it_is_looked_for_where_it_was_moved() -> None:
    steps = [step("a", movable=True), step("b", device="edge-3")]
    stage = group(steps)
    rows = {"a": {"at": "edge-2"}, "b": {"at": "edge-1"}}
    assert devices_of(stage, rows) == {"a": "edge-2", "b": "edge-1"}
    assert [one.actions for one in stranded_in(stage, rows, 0, losing(GONE))] == [("b",)]


def test_messages_to_one_device_go_in_one_move() -> None:
    steps = [step(name, movable=True) for name in "abcd"]
    targets = iter(["edge-2", "edge-3", "edge-2", "edge-3"])
    got = decided(group(steps), steps, place=lambda _: (next(targets), "why"))
    assert [(move.to, move.messages) for move in got.moves] == [
        ("edge-2", (("a",), ("c",))), ("edge-3", (("b",), ("d",))),
    ]  # fmt: skip
    assert isinstance(got.moves[0], Move)


def test_what_follows_in_a_sequence_goes_with_its_head() -> None:
    """The ledger moves it only along with that, to the same device; two that do as little would be taken in turns."""
    names = [step(name, movable=True) for name in "abc"]
    (stage,) = sequence(names, length=9, fuse=False)
    chosen = iter(["edge-2", "edge-3", "edge-2"])
    got = decided(stage, names, place=lambda _: (next(chosen), "it does least"))
    assert [(move.to, move.messages) for move in got.moves] == [("edge-2", (("a",), ("b",), ("c",)))]


def test_where_nobody_takes_a_whole_sequence_its_head_goes_alone() -> None:
    names = [step(name, movable=True) for name in "abc"]
    (stage,) = sequence(names, length=9, fuse=False)

    def place(steps: Sequence[Step]) -> tuple[str, str]:
        return nobody(steps) if len(steps) > 1 else to_edge_2(steps)

    got = decided(stage, names, place=place)
    assert [(move.to, move.messages) for move in got.moves] == [("edge-2", (("a",),))]
    assert got.waits == {}

"""How attempts end: what is run, what is not run twice, and what is written down about it."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support.ledgers import WRONG, Tried, in_sequence, woken

from executor.action import ActionType, Found, Json, Run, Undo, WayBack
from executor.catalogue import MemoryCatalogue
from executor.engine import ExecutionEngine
from executor.ledger.memory import MemoryLedger
from executor.model.errors import (
    ActionCancelled,
    ActionError,
    ActionTimedOut,
    Interrupted,
    LedgerFull,
    Unanswered,
    Unreachable,
)
from executor.model.execution import Claimed, Ended
from executor.model.plan import Call, Fallback, RetryRule, Step
from executor.model.rollback import Chosen
from executor.model.strategy import Model
from rollback.stores import MemoryStore
from workers.actions.file_create import Create
from workers.actions.file_edit import Edit
from workers.run import ActionRun, perform


class Killed(BaseException):
    """The worker dies here."""


class Effect(ActionType):
    """Counts what is done, and does what the test says."""

    isolated = False

    class Parameters(Model):
        text: Any = None

    def __init__(self, uses: str, does: Callable[[Run], Any] = lambda _: None, *, idempotent: bool = False) -> None:
        self.uses = uses  # type: ignore[misc]
        self.idempotent = idempotent  # type: ignore[misc]
        self.does = does
        self.done = 0

    def execute(self, run: Run) -> Any:
        self.done += 1
        return self.does(run)


class Known(Effect):
    """One that can tell that it was done."""

    def check(self, run: Run) -> Found:
        return Found.DONE


class Restoring(Known):
    def way_back(self, parameters: Json) -> WayBack:
        return WayBack.RESTORES


class Held:
    """A claim while its action runs."""

    def __init__(self, *, seconds: float = 30.0) -> None:
        self.stopped = False
        self.ends_at = time.monotonic() + seconds
        self.trouble: Exception | None = None

    def cancelled(self) -> bool:
        return self.stopped

    def guard(self) -> None:
        if self.trouble is not None:
            raise self.trouble


class Here:
    """Runs the code of action types in this process."""

    def __init__(self) -> None:
        self.saved = MemoryStore()
        self.deadlines: list[float] = []

    def prepare(
        self, claimed: Claimed, parameters: BaseModel, hold: Any, snapshot: Json | None, deadline: float = 0.0
    ) -> Run:
        self.deadlines.append(deadline)
        return ActionRun(
            parameters=parameters,
            execution=claimed.execution,
            action=claimed.step.id,
            device=claimed.step.device,
            attempt=claimed.attempt,
            key=f"{claimed.generation}/{claimed.step.id}",
            deadline=time.monotonic() + 20,
            saved=self.saved,
            cancelled=hold.cancelled,
            guard=hold.guard,
            snapshot=snapshot,
        )

    def perform(self, kind: ActionType, method: Any, run: Any, *arguments: Any) -> Any:
        return perform(kind, method, run, *arguments)


def step(name: str, **more: Any) -> Step:
    return Step(id=name, **{"device": "edge-1", "timeout_s": 30.0, **more})


class World(Tried):
    """One execution, and the engine of the one worker that runs it."""

    def __init__(self, *types: ActionType) -> None:
        super().__init__(MemoryLedger())
        self.performer = Here()
        self.engine = ExecutionEngine(MemoryCatalogue(*types), self.performer, self.ledger)
        self.held = Held()

    def of(self, **more: Any) -> "World":
        self.start(in_sequence([step("a", **more)]))
        return self

    def run(self, claimed: Claimed) -> Ended:
        return self.engine.execute_action(claimed, self.held)

    def die(self, claimed: Claimed) -> None:
        """The worker runs it, dies on its way, and is buried."""
        with pytest.raises(Killed):
            self.run(claimed)
        self.bury()

    def bury(self, generation: int = 0) -> None:
        assert self.ledger.expire("w1", ("E1", generation, "a"), sure=True, error=WRONG) == "ok"

    def end(self, claimed: Claimed, ended: Ended) -> None:
        self.ledger.settle(claimed, ended, holder="w1", nonce=claimed.token + "-settled", signature="{}")


def raising(error: BaseException) -> Callable[[Run], Any]:
    def does(_: Run) -> Any:
        raise error

    return does


def spare(uses: str = "spare") -> Fallback:
    return Fallback(call=Call(uses=uses))


def failing() -> Effect:
    return Effect("main", raising(ActionError("no luck")))


# -- taking back by an action that saves something itself ------------------------------------------------------------


def back_by_edit(world: World, changed: Path, back: Path) -> Step:
    """Carry out a change of one file; its way back changes another."""
    world.of(call=Call(uses="file.edit", with_={"path": str(changed), "content": "changed"}))
    claimed = world.claim("a")
    world.end(claimed, world.run(claimed))
    return step(
        "a", call=Call(uses="file.edit", with_={"path": str(back), "content": "back"}), purpose="undo", undoes="a",
        on_failure="continue",
    )  # fmt: skip


@pytest.mark.parametrize("killed", [False, True])
def test_a_declared_way_back_that_saves_something_keeps_to_its_own(tmp_path: Path, killed: bool) -> None:
    changed, back = tmp_path / "changed", tmp_path / "back"
    changed.write_text("before")
    back.write_text("before")
    world = World(Edit(), Effect("wait"))
    way_back = back_by_edit(world, changed, back)
    world.ledger.advance("E1", 0, 0, error=WRONG)
    assert world.begin(in_sequence([way_back]))
    first = world.claim("a", generation=1)
    assert world.run(first).status == "succeeded"
    back.write_text("before")  # as if that had not come through
    if killed:
        world.bury(1)
    else:
        world.settle(first, "retry")
        world.ledger.due(99)
    woken(world.ledger)
    second = world.ledger.claim("E1", 1, ["a"], holder="w1", nonce="second", signature="{}")
    assert isinstance(second, Claimed), second
    ended = world.run(second)
    assert (ended.status, back.read_text(), changed.read_text()) == ("succeeded", "back", "changed")


# -- fallbacks -------------------------------------------------------------------------------------------------------


def test_one_that_is_tried_again_runs_and_falls_back_anew() -> None:
    """That its fallback once began tells something only of one that was broken off."""
    main, second = failing(), Effect("spare", raising(ActionError("no luck either")))
    world = World(main, second).of(call=Call(uses="main"), fallback=spare())
    claimed = world.claim("a")
    world.end(claimed, world.run(claimed))
    assert world.row("a")["undo_fallback"]
    again = Chosen(mechanism="guided", asked="guided", by="ann")
    assert world.ledger.resume("E1", again, ["a"], timeout_s=60.0)
    second.does = lambda _: 7
    ended = world.run(world.claim("a"))
    assert (ended.status, ended.result, main.done, second.done) == ("succeeded", 7, 2, 2)


def test_a_fallback_that_killed_its_worker_is_not_run_again() -> None:
    second = Effect("spare", raising(Killed()))
    world = World(failing(), second).of(call=Call(uses="main"), fallback=spare())
    world.die(world.claim("a"))
    assert world.row("a")["effect_fallback"] == "unknown"
    claimed = world.claim("a")
    ended = world.run(claimed)
    assert (ended.status, ended.marks, second.done) == ("failed", {"effect_fallback": "unknown"}, 1)
    assert ended.error is not None
    assert ended.error["type"] == "Interrupted"
    world.end(claimed, ended)
    assert world.row("a")["effect_fallback"] == "unknown"


@pytest.mark.parametrize(("becomes", "known"), [("succeeded", "completed"), ("failed", "unknown")])
def test_an_idempotent_fallback_is_run_again(becomes: str, known: str) -> None:
    second = Effect("spare", raising(Killed()), idempotent=True)
    world = World(failing(), second).of(call=Call(uses="main"), fallback=spare())
    world.die(world.claim("a"))
    second.does = raising(ActionError("no")) if becomes == "failed" else lambda _: "done"
    ended = world.run(world.claim("a"))
    assert (ended.status, ended.marks["effect_fallback"], second.done) == (becomes, known, 2)


def test_a_fallback_of_which_its_type_cannot_even_say_how_it_is_undone_is_not_run_again() -> None:
    class Puzzled(Effect):
        def way_back(self, parameters: Json) -> WayBack:
            raise LookupError

    second = Puzzled("spare", raising(Killed()))
    world = World(failing(), second).of(call=Call(uses="main"), fallback=spare())
    world.die(world.claim("a"))
    claimed = world.claim("a")
    world.end(claimed, world.run(claimed))
    assert (world.status("a"), world.row("a")["effect_fallback"], second.done) == ("failed", "unknown", 1)


def test_a_fallback_that_saves_keeps_the_first_state_it_saved(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    edit = Fallback(call=Call(uses="file.edit", with_={"path": str(path), "append": " and after"}))
    world = World(failing(), Edit()).of(call=Call(uses="main"), fallback=edit)
    first = world.claim("a")
    assert world.run(first).status == "succeeded"
    world.bury()
    ended = world.run(world.claim("a"))
    assert (ended.status, path.read_text()) == ("succeeded", "before and after")


@pytest.mark.parametrize("error", [Interrupted("gone"), ActionTimedOut("late"), ActionCancelled("stop")])
def test_nobody_knows_of_a_fallback_that_was_cut_off(error: ActionError) -> None:
    world = World(failing(), Effect("spare", raising(error))).of(call=Call(uses="main"), fallback=spare())
    assert world.run(world.claim("a")).marks == {"effect_fallback": "unknown"}


# -- ends --------------------------------------------------------------------------------------------------------------


def test_who_says_cancelled_while_nobody_cancelled_has_failed() -> None:
    world = World(Effect("main", raising(ActionCancelled("by myself")))).of(call=Call(uses="main"))
    ended = world.run(world.claim("a"))
    assert (ended.status, ended.effect) == ("failed", "unknown")
    assert ended.error is not None
    assert ended.error["type"] == "Interrupted"


@pytest.mark.parametrize(
    ("error", "effect"),
    [(Unanswered("no answer"), "unknown"), (ActionTimedOut("late"), "unknown"), (ActionError("no"), "started")],
)
def test_what_was_sent_and_not_answered_may_have_been_done(error: ActionError, effect: str) -> None:
    """Only a refusal says that it began and did not come to its end."""
    world = World(Effect("main", raising(error))).of(call=Call(uses="main"))
    ended = world.run(world.claim("a"))
    assert ended.effect == effect


@pytest.mark.parametrize(("safe", "status", "undone"), [(True, "succeeded", 1), (False, "failed", 0)])
def test_what_nobody_knows_is_undone_where_its_type_says_that_this_is_safe(
    safe: bool, status: str, undone: int
) -> None:
    """A probe that cannot tell leads to the way back, or to the list for a person."""
    calls: list[Undo] = []

    class Maybe(Effect):
        safe_to_undo = safe

        def way_back(self, parameters: Json) -> WayBack:
            return WayBack.COMPENSATES

        def check(self, run: Run) -> Found:
            return Found.UNKNOWN

        def compensate(self, run: Run, undo: Undo) -> Any:
            calls.append(undo)

    call = Call(uses="main")
    world = World(Maybe("main", raising(ActionTimedOut("late")))).of(call=call)
    claimed = world.claim("a")
    world.end(claimed, world.run(claimed))
    back = step("a", call=call, purpose="undo", undoes="a", method="compensate", probe=call, on_failure="continue")
    assert world.begin(in_sequence([back]))
    assert world.run(world.claim("a", generation=1)).status == status
    assert len(calls) == undone


def test_who_was_cancelled_has_not_failed() -> None:
    world = World(Effect("main"), Effect("spare")).of(call=Call(uses="main"), fallback=spare())
    world.held.stopped = True
    assert world.run(world.claim("a")).status == "cancelled"


@pytest.mark.parametrize("of_fallback", [False, True])
def test_a_cancel_ends_a_failing_fallback_as_cancelled(of_fallback: bool) -> None:
    def stopped(_: Run) -> Any:
        world.held.stopped = True
        raise ActionError("killed on the way")

    kinds = (failing(), Effect("spare", stopped)) if of_fallback else (Effect("main", stopped), Effect("spare"))
    world = World(*kinds).of(call=Call(uses="main"), fallback=spare())
    assert world.run(world.claim("a")).status == "cancelled"


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (Unreachable("no server"), "network", "retry"),
        (LedgerFull("no room"), "resource", "retry"),
        (KeyError("bug"), "validation", "failed"),
    ],
)
@pytest.mark.parametrize("back", [False, True])
def test_every_attempt_ends(
    error: Exception, kind: str, status: str, back: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(Effect("main"))
    more: dict[str, Any] = {"purpose": "undo", "undoes": "a"} if back else {}
    world.of(call=Call(uses="main"), retry=RetryRule(max_attempts=2), **more)
    world.held.trouble = error
    caplog.set_level(logging.ERROR)
    ended = world.run(world.claim("a"))
    assert (ended.status, ended.effect) == (status, "none")
    assert ended.error is not None
    assert ended.error["classification"]["type"] == kind
    assert ("Traceback" in caplog.text) == isinstance(error, KeyError)


def test_every_fallback_ends() -> None:
    world = World(failing(), Effect("spare")).of(call=Call(uses="main"), fallback=spare())

    def lost(*_: Any, **__: Any) -> bool:
        raise Unreachable("no server")

    world.engine._undo_records.record_undo = lost  # type: ignore[method-assign]
    ended = world.run(world.claim("a"))
    assert (ended.status, ended.marks) == ("failed", {"effect_fallback": "none"})


# -- taking over -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Effect, Known])
def test_what_is_not_to_run_is_not_run_by_who_takes_over(kind: type[Effect]) -> None:
    effect = kind("main")
    world = World(effect).of(call=Call(uses="main"), when="false")
    world.claim("a")
    world.bury()
    ended = world.run(world.claim("a"))
    assert (ended.status, effect.done) == ("skipped", 0)


def test_done_with_its_result_lost_cannot_prove_its_success() -> None:
    effect = Known("main")
    world = World(effect).of(call=Call(uses="main"), success="result == null")
    world.claim("a")
    world.bury()
    ended = world.run(world.claim("a"))
    assert (ended.status, ended.effect, effect.done) == ("failed", "completed", 0)
    assert ended.error is not None
    assert ended.error["type"] == "Interrupted"


def test_done_without_anything_to_prove_has_succeeded() -> None:
    world = World(Known("main")).of(call=Call(uses="main"))
    world.claim("a")
    world.bury()
    assert world.run(world.claim("a")).status == "succeeded"


def test_who_restores_is_run_again_for_its_result() -> None:
    world = World(Restoring("main", lambda _: 7)).of(call=Call(uses="main"), success="result == 7")
    world.claim("a")
    world.bury()
    ended = world.run(world.claim("a"))
    assert (ended.status, ended.result) == ("succeeded", 7)


def test_a_file_that_was_created_is_told_again(tmp_path: Path) -> None:
    path = tmp_path / "new"
    world = World(Create()).of(call=Call(uses="file.create", with_={"path": str(path), "content": "x"}))
    first = world.run(world.claim("a"))
    world.bury()
    second = world.run(world.claim("a"))
    assert (first.status, second.status, second.result) == ("succeeded", "succeeded", first.result)


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["${{ inputs.said }}", {"deep": ["${{ inputs.said }}"]}, "${{ inputs.all }}", "secret://env/${{ inputs.name }}"],
)
def test_data_cannot_choose_a_secret(text: Any) -> None:
    effect = Effect("main")
    world = World(effect)
    said = {"said": "secret://env/HOME", "all": {"a": ["x", "secret://env/HOME"]}, "name": "HOME"}
    call = Call(uses="main", with_={"text": text}, reads={"inputs": True})  # type: ignore[arg-type]
    world.start(in_sequence([step("a", call=call, reads=call.reads)]), inputs=said)
    ended = world.run(world.claim("a"))
    assert (ended.status, effect.done) == ("failed", 0)
    assert ended.error is not None
    assert ended.error["classification"]["category"] == "configuration"


def test_a_secret_that_the_strategy_names_is_read() -> None:
    seen: list[Any] = []
    world = World(Effect("main", lambda run: seen.append(run.parameters.text)))
    world.of(call=Call(uses="main", with_={"text": {"a": ["secret://env/HOME", "${{ 1 }}"]}}))
    assert world.run(world.claim("a")).status == "succeeded"
    assert seen == [{"a": ["secret://env/HOME", 1]}]


# -- deadlines ---------------------------------------------------------------------------------------------------------


def test_a_claim_has_one_deadline_and_its_fallback_a_second_one() -> None:
    world = World(Restoring("main", raising(ActionError("no"))), Effect("spare"))
    world.of(call=Call(uses="main"), fallback=spare(), timeout_s=30.0)
    world.held = Held(seconds=60.0)
    world.claim("a")
    world.bury()
    begun = time.monotonic()
    assert world.run(world.claim("a")).status == "succeeded"
    probe, again, fallback = world.performer.deadlines
    assert probe == again == pytest.approx(world.held.ends_at - 30.0)
    assert begun + 30.0 <= fallback <= world.held.ends_at


def test_an_attempt_without_fallback_has_the_time_of_its_lease() -> None:
    world = World(Effect("main")).of(call=Call(uses="main"))
    world.run(world.claim("a"))
    assert world.performer.deadlines == [world.held.ends_at]

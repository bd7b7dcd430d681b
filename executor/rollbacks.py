"""What a client asks for when an execution is to be taken back: refused here what can be known to be wrong."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from executor.model.errors import NotAllowedNow, UnknownExecution, Unreachable
from executor.model.execution import TERMINAL, ExecutionState
from executor.model.fan_out import fan_outs
from executor.model.ids import new_execution_id
from executor.model.rollback import STILL_AT_IT, Choices, RollbackRequest, Wish
from executor.task_names import PREVIEW_ROLLBACK

if TYPE_CHECKING:
    from executor.ledger.valkey import ValkeyLedger

Json = dict[str, Any]


def plan_rollback(ledger: "ValkeyLedger", execution: str, request: RollbackRequest, timeout_s: float) -> Json:
    """What a rollback would do, as a coordinator works it out; ``refused`` says why it may not be.

    Raises:
        UnknownExecution: there is none of that id.
        Unreachable: no coordinator answered within `timeout_s`.
    """
    key = new_execution_id()
    if not ledger.ask(execution, PREVIEW_ROLLBACK, request.model_dump(mode="json"), key):
        raise UnknownExecution(execution)
    answer = ledger.answer(key, timeout_s)
    if answer is None:
        raise Unreachable(
            f"no coordinator answered within {timeout_s:g} s: start one with `rex coordinator`, or ask `rex doctor`"
        )
    return answer


def request_rollback(ledger: "ValkeyLedger", execution: str, request: RollbackRequest, timeout_s: float) -> None:
    """Have an execution taken back that has ended.

    Raises:
        NotAllowedNow: it runs, never ran, a worker may still be at it, nothing is left to take back, or what would be
            kept needs what is taken back.
        UnknownExecution, Unreachable: as `plan_rollback`.
    """
    head = ledger.head(execution)
    if request.key and head.get("request_key") == request.key:
        return  # it was asked for before, and the answer was lost
    state = head["state"]
    if state not in TERMINAL:
        raise NotAllowedNow(_not_yet(execution, state, waits="offer" in head and "choice" not in head))
    planned = plan_rollback(ledger, execution, request, timeout_s)
    if planned.get("refused"):
        raise NotAllowedNow(f"execution {execution} is not taken back: {planned['refused']}")
    answer, state = ledger.reopen(execution, request)
    if answer == "unknown":
        raise UnknownExecution(execution)
    if answer == "refused":
        raise NotAllowedNow(_not_yet(execution, state))


def _not_yet(execution: str, state: str, *, waits: bool = False) -> str:
    if waits:
        return f"execution {execution} waits for a choice: `rex rollback {execution} --choose` shows it"
    if state == ExecutionState.ROLLING_BACK:
        return f"execution {execution} is being taken back already: `rex watch {execution}` follows it"
    if state == STILL_AT_IT:
        return (
            f"execution {execution} waits for a worker that nobody reaches and that may still be at it: "
            "ask again when the timeout of its action is over"
        )
    if state in TERMINAL:
        return f"nothing of execution {execution} ran, so there is nothing to take back"
    return (
        f"execution {execution} is {state}, and only what has ended is taken back: `rex cancel {execution}` ends it, "
        "and takes it back"
    )


def choose(ledger: "ValkeyLedger", execution: str, choices: Mapping[str, str], by: str) -> None:
    """Answer a guided rollback.

    Raises:
        NotAllowedNow: it does not wait for a choice, or somebody was faster.
        ValueError: a choice that is not offered, or one that would keep what needs what is undone.
        UnknownExecution: there is none of that id.
    """
    offered = ledger.offered(execution)
    if offered is None:
        state = ledger.head(execution)["state"]
        raise NotAllowedNow(f"execution {execution} does not wait for a choice: it is {state}")
    choices = for_each_device(choices, offered)
    check_choices(choices, offered)
    told = {"choices": choices, "by": by, "key": new_execution_id(), "turn": offered["turn"]}
    answer = Choices.model_validate(told)
    got, why = ledger.choose(execution, answer)
    if got == "unknown":
        raise UnknownExecution(execution)
    if got == "refused":
        known = {
            "chosen": "somebody has chosen already", "late": "the time to choose is over",
            "another": "it failed again meanwhile, and there is another choice",
        }  # fmt: skip
        said = known.get(why, f"it is {why}")
        raise NotAllowedNow(f"execution {execution} does not wait for a choice: {said}")


def for_each_device(choices: Mapping[str, str], offered: Json) -> dict[str, str]:
    """Choices in which one for a fan-out stands for all its instances that are offered and not chosen for."""
    known = fan_outs(offered["actions"])
    several = {one: wish for name, wish in choices.items() for one in known.get(name, ())}
    return {**several, **{name: wish for name, wish in choices.items() if name not in known}}


def check_choices(choices: Mapping[str, str], offered: Json) -> None:
    """Raises ValueError, with what would be right."""
    actions = offered["actions"]
    for name, wish in choices.items():
        if name not in actions:
            raise ValueError(f"there is nothing to choose for {name!r}: it is about {', '.join(actions)}")
        if wish not in actions[name]["wishes"]:
            words = wish if wish in get_args(Wish) else repr(wish)
            raise ValueError(f"{words} is not possible for {name!r}: one of {', '.join(actions[name]['wishes'])}")
    whole = {name: choices.get(name, offered["default"]) for name in actions}
    if "retry" in choices.values():
        if left := [name for name in actions if "retry" in actions[name]["wishes"] and choices.get(name) != "retry"]:
            raise ValueError(f"retry puts everything that failed back: {', '.join(left)} too")
        if undone := [name for name in actions if choices.get(name) == "undo"]:
            raise ValueError(
                f"retry goes on with the execution, so nothing is undone: leave {', '.join(undone)} out, or keep it"
            )
        return
    for name, wish in whole.items():
        kept = [other for other in actions[name]["needed_by"] if whole.get(other) == "keep"]
        if wish == "undo" and kept:
            raise ValueError(f"{', '.join(kept)} would be kept, and needs {name}: undo both, or keep both")


def request_of(
    mechanism: str | None, actions: Sequence[str], *, force: bool, retry: bool, by: str, key: str | None
) -> RollbackRequest:
    """Raises ValueError where the mechanism is none."""
    return RollbackRequest.model_validate(
        {
            "mechanism": mechanism, "actions": tuple(actions), "force": force, "retry": retry, "by": by,
            "key": key or new_execution_id(),
        }
    )  # fmt: skip

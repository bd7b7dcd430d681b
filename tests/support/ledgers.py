"""Small executions in a ledger, for tests that judge it by its public methods."""

import itertools
import json
from collections.abc import Iterable
from typing import Any

from executor.ledger.memory import MemoryLedger
from executor.ledger.valkey import ValkeyLedger
from executor.model.execution import Answer, Claimed, Ended, Outgoing, Settled
from executor.model.plan import Call, Plan, Stage, Step, group, sequence
from executor.model.rollback import Choices, Chosen, RollbackRequest

AnyLedger = MemoryLedger | ValkeyLedger

CHOSEN = Chosen(mechanism="compensate", asked="adaptive")
WRONG = {"type": "ActionError", "message": "wrong", "classification": {"category": "transient"}, "action": None}
_nonces = (f"n{number}" for number in itertools.count())


def step(name: str, **more: Any) -> Step:
    return Step(id=name, **{"call": Call(uses="wait"), "device": "edge-1", "timeout_s": 30.0, **more})


def named(names: str) -> list[Step]:
    return [step(name) for name in names.split()]


def in_group(steps: str | Iterable[Step]) -> tuple[Stage, list[Step]]:
    listed = named(steps) if isinstance(steps, str) else list(steps)
    return group(listed), listed


def in_sequence(steps: str | Iterable[Step]) -> tuple[Stage, list[Step]]:
    listed = named(steps) if isinstance(steps, str) else list(steps)
    return sequence(listed, length=25, fuse=True)[0], listed


def abandoned(ledger: AnyLedger, execution: str, generation: int, action: str, *, wait_s: float) -> str:
    """What became of one action whose device nobody serves."""
    return ledger.abandon_all(execution, generation, {action: WRONG}, wait_s=wait_s)[action]


class Tried:
    """One execution in a ledger, with the arguments that a test does not care about."""

    def __init__(self, ledger: AnyLedger, execution: str = "E1") -> None:
        self.ledger = ledger
        self.id = execution

    def submit(self, **document: Any) -> bool:
        return self.ledger.submit(self.id, {"strategy": {"name": "repair", "version": "2"}, **document})

    def start(self, *stages: tuple[Stage, list[Step]], said: dict[str, Any] | None = None, **more: Any) -> "Tried":
        """Begin it; `said`: what else its plan holds."""
        self.submit()
        plan = Plan(stages=tuple(stage for stage, _ in stages), **(said or {}))
        steps = {one.id: one for _, listed in stages for one in listed}
        settings = {"inputs": {}, "context": {}, "parallel": 0, "timeout_s": 60.0, "rollback": "adaptive"}
        assert self.ledger.create(self.id, plan, steps, **{**settings, "max_failures": None, **more})
        return self

    def begin(
        self, *stages: tuple[Stage, list[Step]], timeout_s: float = 60.0, generation: int = 0, chosen: Chosen = CHOSEN,
        remaining: Iterable[dict[str, Any]] = (),
    ) -> bool:  # fmt: skip
        plan = Plan(stages=tuple(stage for stage, _ in stages))
        steps = {one.id: one for _, listed in stages for one in listed}
        return self.ledger.begin_rollback(
            self.id, generation, plan, steps, remaining=list(remaining), timeout_s=timeout_s, chosen=chosen
        )

    def complete(self, names: str = "a b") -> "Tried":
        """Run a group of actions to the end of the execution."""
        self.start(in_group(names)).do(*names.split())
        assert self.ledger.advance(self.id, 0, 0)
        assert self.ledger.conclude(self.id, "completed")
        return self

    def fail(self) -> "Tried":
        """Run ``a``, and fail at ``b``: it is about to be taken back."""
        self.start(in_group("a b")).do("a")
        self.do("b", status="failed")
        return self

    def go_back(
        self, generation: int, status: str = "succeeded", outcome: str = "failed", rollback: str = "completed"
    ) -> None:
        """One way back of one step, ``u``, to its end."""
        assert self.begin(in_group([step("u", purpose="undo", undoes="a", on_failure="continue")]))
        self.do("u", status=status, generation=generation)
        assert self.ledger.advance(self.id, generation, 0)
        assert self.ledger.conclude(self.id, outcome, rollback=rollback)

    def go_back_empty(self, outcome: str) -> None:
        """A way back without a step, to its end."""
        assert self.begin()
        assert self.ledger.conclude(self.id, outcome, rollback="completed")

    def reopen(self, key: str = "k1", **wanted: Any) -> tuple[str, str]:
        return self.ledger.reopen(self.id, RollbackRequest(**{"by": "ann", **wanted, "key": key}))

    def choose(self, key: str = "c1", **choices: Any) -> tuple[str, str]:
        return self.ledger.choose(self.id, Choices(choices=choices, by="ann", key=key))

    def ask(
        self, *names: str, holder: str = "w1", nonce: str = "", generation: int = 0, park: bool = True
    ) -> Claimed | Answer:
        signature = json.dumps({"message": names}) if park else ""
        nonce = nonce or next(_nonces)
        return self.ledger.claim(self.id, generation, names, holder=holder, nonce=nonce, signature=signature)

    def claim(self, *names: str, **more: Any) -> Claimed:
        got = self.ask(*names, **more)
        assert isinstance(got, Claimed), got
        return got

    def answer(self, *names: str, **more: Any) -> str:
        got = self.ask(*names, **more)
        return "run" if isinstance(got, Claimed) else got.kind

    def settle(
        self,
        claimed: Claimed,
        status: str = "succeeded",
        *,
        holder: str = "w1",
        nonce: str = "",
        then: Iterable[str] = (),
        next_nonce: str = "",
        **more: Any,
    ) -> Settled:
        if status in ("failed", "timed_out", "retry"):
            more.setdefault("error", WRONG)
        return self.ledger.settle(
            claimed,
            Ended(status, **more),
            holder=holder,
            nonce=nonce or next(_nonces),
            signature=json.dumps({"again": claimed.step.id}),
            following=list(then),
            next_nonce=next_nonce or next(_nonces),
        )

    def do(self, *names: str, status: str = "succeeded", **more: Any) -> None:
        """Claim and settle each."""
        for name in names:
            self.settle(self.claim(name, **more), status)

    @property
    def state(self) -> str:
        return self.ledger.head(self.id)["state"]

    def field(self, name: str) -> str | None:
        return self.ledger.head(self.id).get(name)

    def row(self, action: str, generation: int = 0) -> dict[str, str]:
        return self.ledger.actions(self.id, generation, [action])[action]

    def status(self, action: str, generation: int = 0) -> str:
        return self.row(action, generation).get("status", "")

    def events(self) -> list[str]:
        return [event["event"] for event in self.ledger.events(self.id)]

    def sent(self) -> list[str]:
        """Names of all entries that stand in the outbox, whether due or not."""
        return outbox(self.ledger)


class Collected:
    """An outlet that keeps what it is to send, and strikes it out as a sender does."""

    def __init__(self, ledger: AnyLedger) -> None:
        self._ledger = ledger
        self.messages: list[str] = []
        """Actions whose messages went out, in order."""

    def send(self, outgoing: list[Outgoing]) -> None:
        for item in outgoing:
            if item.entry["kind"] == "signature":
                self.messages.append(item.id.partition("#")[0].rpartition("|")[2])
        self._ledger.strike(item.id for item in outgoing if item.entry["kind"] != "task")


def woken(ledger: AnyLedger) -> list[str]:
    """Actions whose messages went out since this was asked last."""
    collected = ledger.outlet
    if not isinstance(collected, Collected):
        collected = ledger.outlet = Collected(ledger)
    collected.send(ledger.due(99)[0])
    found, collected.messages = collected.messages, []
    return found


def due_in_ms(ledger: AnyLedger, name: str) -> int:
    """When an entry of the outbox is due, from now on."""
    if isinstance(ledger, MemoryLedger):
        return ledger._store.outbox[name].due - ledger.now_ms()
    return int(ledger._client.zscore(ledger._key("ob"), name)) - ledger.now_ms()


def make_due(ledger: AnyLedger, name: str) -> None:
    if isinstance(ledger, MemoryLedger):
        ledger._store.outbox[name].due = 0
    else:
        ledger._client.zadd(ledger._key("ob"), {name: 0})


def outbox(ledger: AnyLedger) -> list[str]:
    if isinstance(ledger, MemoryLedger):
        return sorted(ledger._store.outbox)
    return sorted(ledger._client.zrange(ledger._key("ob"), 0, -1))

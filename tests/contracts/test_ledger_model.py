"""Random plans under random operations, on both ledgers side by side: same answers, same state, and what must hold.

`REX_MODEL_EXAMPLES` and `REX_MODEL_STEPS` make it search longer.
"""

import itertools
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.ledgers import WRONG, step
from support.server import Server
from support.twins import Invariants, Twins, finish

from executor.model.execution import Claimed, Ended
from executor.model.plan import Plan, Stage, Step, group, sequence

HOLDERS = st.sampled_from(["w1", "w2", "w3"])
CHANCE = st.integers(0, 10**6)
STATUSES = ["succeeded", "succeeded", "failed", "retry", "timed_out", "skipped", "cancelled"]


@st.composite
def plans(draw: st.DrawFn, prefix: str = "", *, forward: bool = True) -> tuple[Plan, dict[str, Step]]:
    """Up to three stages of up to four steps, each of which may need earlier ones."""
    stages: list[Stage] = []
    steps: dict[str, Step] = {}
    for number in range(draw(st.integers(1, 3))):
        earlier = list(steps)
        listed = []
        for place in range(draw(st.integers(1, 4))):
            wanted = draw(st.lists(st.sampled_from(earlier), max_size=1)) if earlier else []
            listed.append(
                step(
                    f"{prefix}{'abc'[number]}{place}",
                    device=draw(st.sampled_from(["d1", "d1", "d2"])),
                    on_failure=draw(st.sampled_from(["rollback", "stop", "continue"])) if forward else "continue",
                    idempotent=draw(st.booleans()),
                    timeout_s=draw(st.sampled_from([0.5, 30.0])),
                    needs=tuple((name, draw(st.booleans())) for name in wanted),
                )
            )
        steps.update({one.id: one for one in listed})
        stages += [group(listed)] if draw(st.booleans()) else sequence(listed, length=3, fuse=draw(st.booleans()))
    return Plan(stages=tuple(stages)), steps


class LedgerModel(RuleBasedStateMachine):
    """Workers, watchdogs and coordinators of the worst kind."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.twins = Twins(server)
        self.rules_of_the_house = Invariants(self.twins.memory._store)
        self.numbers = itertools.count()
        self.claims: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.held: list[tuple[str, Claimed]] = []
        self.settled: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.unstruck: list[str] = []

    def teardown(self) -> None:
        try:
            for execution in list(self.twins.memory._store.executions):
                finish(self.twins, execution, self.fresh)
                self.check()
                self.twins.call("forget", execution)
            assert not self.twins.memory._store.parked
            self.check()
            left = [key for key in self.twins.client.keys("*") if ":E" in key]
            assert left == []
            for name in self.twins.client.zrange("rex:{0}:ob", 0, -1):
                assert not name.startswith("p:"), "a message of a forgotten action"
        finally:
            self.twins.close()

    def fresh(self) -> str:
        return f"n{next(self.numbers)}"

    def collect(self) -> None:
        for item in self.twins.sent():
            if item.entry["kind"] != "task":
                self.unstruck.append(item.id)

    @initialize(
        planned=plans(),
        limit=st.sampled_from([0, 1, 1, 2]),
        most=st.sampled_from([None, 0, 1]),
        back=st.sampled_from(["none", "adaptive", "adaptive"]),
    )
    def start(self, planned: tuple[Plan, dict[str, Step]], limit: int, most: int | None, back: str) -> None:
        self.begin_one("E1", planned, limit, most, back)

    @precondition(lambda self: "E2" not in self.twins.memory._store.executions)
    @rule(planned=plans(), limit=st.sampled_from([0, 1, 1, 2]))
    def start_another(self, planned: tuple[Plan, dict[str, Step]], limit: int) -> None:
        self.begin_one("E2", planned, limit, None, "adaptive")

    def begin_one(
        self, name: str, planned: tuple[Plan, dict[str, Step]], limit: int, most: int | None, back: str
    ) -> None:
        self.twins.call("submit", name, {"strategy": {"name": "s"}})
        self.twins.call("hold", name, "a device", delay_s=0)
        self.twins.call(
            "create", name, *planned, inputs={}, context={}, parallel=limit, timeout_s=20, rollback=back,
            max_failures=most,
        )  # fmt: skip

    def an_execution(self, chance: int) -> Any:
        known = list(self.twins.memory._store.executions.values())
        return known[chance % len(known)]

    def a_message(self, chance: int, *, current: bool = True) -> tuple[str, int, list[str]]:
        x = self.an_execution(chance)
        generation = x.current if current else chance % len(x.generations)
        stages = x.generations[generation].plan.stages
        if not stages:
            return x.id, generation, ["nobody"]
        stage = stages[min(x.number("stage"), len(stages) - 1) if current else chance % len(stages)]
        message = stage.messages[chance // 7 % len(stage.messages)]
        return x.id, generation, list(message[chance // 11 % len(message) if not current else 0 :])

    # -- workers ------------------------------------------------------------------------------------------------------

    @rule(chance=CHANCE, holder=HOLDERS, current=st.sampled_from([True, True, True, False]), parks=st.booleans())
    def claim(self, chance: int, holder: str, current: bool, parks: bool) -> None:
        execution, generation, actions = self.a_message(chance, current=current)
        more = {"holder": holder, "nonce": self.fresh(), "signature": "the message" if parks else ""}
        self.claims.append(((execution, generation, actions), more))
        self.got(holder, self.twins.call("claim", execution, generation, actions, **more))

    @rule(chance=CHANCE, holder=HOLDERS, times=st.sampled_from([1, 1, 2]))
    def all_messages_come(self, chance: int, holder: str, times: int) -> None:
        """Every message of the open stage, perhaps twice."""
        x = self.an_execution(chance)
        stages = x.generations[x.current].plan.stages
        for message in stages[x.number("stage")].messages * times if stages else ():
            more = {"holder": holder, "nonce": self.fresh(), "signature": "the message"}
            self.got(holder, self.twins.call("claim", x.id, x.current, list(message), **more))

    @precondition(lambda self: self.claims)
    @rule(chance=CHANCE)
    def claim_again(self, chance: int) -> None:
        args, more = self.claims[-1 - chance % min(3, len(self.claims))]
        self.got(more["holder"], self.twins.call("claim", *args, **more))

    def got(self, holder: str, answer: Any) -> None:
        if isinstance(answer, Claimed) and (holder, answer) not in self.held:
            self.held.append((holder, answer))

    @precondition(lambda self: self.held)
    @rule(
        chance=CHANCE,
        status=st.sampled_from(STATUSES),
        effect=st.sampled_from(["none", "started", "unknown", "completed"]),
        delay_s=st.sampled_from([0.0, 0.0, 3.0]),
        goes_on=st.booleans(),
        keep=st.sampled_from([False, False, False, True]),
    )
    def settle(self, chance: int, status: str, effect: str, delay_s: float, goes_on: bool, keep: bool) -> None:
        place = chance % len(self.held)
        holder, claimed = self.held[place] if keep else self.held.pop(place)
        stage = self.twins.memory.plan(claimed.execution, claimed.generation)
        following: list[str] = []
        for message in (m for s in stage.stages for m in s.messages) if stage and goes_on else ():
            if claimed.step.id in message:
                following = list(message[message.index(claimed.step.id) + 1 :])
        error = WRONG if status in ("failed", "retry", "timed_out") else None
        ended = Ended(status, error=error, effect=effect, delay_s=delay_s, marks={"degraded": "1"} if keep else {})
        more = {"holder": holder, "nonce": self.fresh(), "signature": "again", "next_nonce": self.fresh()}
        self.settled.append(((claimed, ended), {**more, "following": following}))
        self.got(holder, self.twins.call("settle", claimed, ended, **more, following=following).following)

    @precondition(lambda self: self.settled)
    @rule(chance=CHANCE)
    def settle_again(self, chance: int) -> None:
        args, more = self.settled[-1 - chance % min(3, len(self.settled))]
        self.got(more["holder"], self.twins.call("settle", *args, **more).following)

    @precondition(lambda self: self.held)
    @rule(chance=CHANCE, of_fallback=st.booleans())
    def record(self, chance: int, of_fallback: bool) -> None:
        _, claimed = self.held[chance % len(self.held)]
        self.twins.call("record_undo", claimed, {"data": chance}, of_fallback=of_fallback)
        self.twins.call("progress", claimed, 0.5, "half")

    @rule(holder=HOLDERS)
    def renew(self, holder: str) -> None:
        self.twins.call("renew", holder, [claimed for mine, claimed in self.held if mine == holder])

    @rule(holder=HOLDERS)
    def leave(self, holder: str) -> None:
        self.twins.call("leave", holder)

    # -- watchdog -----------------------------------------------------------------------------------------------------

    @rule(holder=HOLDERS, sure=st.booleans(), fence=st.sampled_from([False, False, True]))
    def bury(self, holder: str, sure: bool, fence: bool) -> None:
        leases = self.twins.call("fence", holder) if fence else sorted(self.twins.memory.leases(holder))
        for lease in leases:
            self.twins.call("expire", holder, lease, sure=sure, error=WRONG)

    @rule(chance=CHANCE, wait_s=st.sampled_from([0.0, 60.0]))
    def abandon(self, chance: int, wait_s: float) -> None:
        execution, generation, actions = self.a_message(chance)
        self.twins.call("abandon_all", execution, generation, dict.fromkeys(actions, WRONG), wait_s=wait_s)

    @rule(chance=CHANCE)
    def touch(self, chance: int) -> None:
        execution, generation, actions = self.a_message(chance)
        self.twins.call("served", execution, generation, actions)
        self.twins.call("touch", execution, generation, actions)
        self.twins.call("waiting", execution, generation, actions)

    @rule(milliseconds=st.sampled_from([1, 400, 1600, 9000]))
    def time_passes(self, milliseconds: int) -> None:
        self.twins.pass_time(milliseconds)
        for execution in list(self.twins.memory.overdue_executions()):
            self.twins.call("overdue", execution, WRONG)

    # -- coordinators -------------------------------------------------------------------------------------------------

    @rule(limit=st.sampled_from([1, 99]))
    def send_what_is_due(self, limit: int) -> None:
        found, _ = self.twins.call("due", limit)
        self.unstruck += [item.id for item in found if item.entry["kind"] != "task"]

    @rule(chance=CHANCE)
    def strike(self, chance: int) -> None:
        """Senders strike out late, or die before they do."""
        self.collect()
        if self.unstruck:
            some = self.unstruck[chance % len(self.unstruck) :]
            del self.unstruck[chance % len(self.unstruck) :]
            self.twins.call("strike", some)

    @rule(chance=CHANCE, wrong=st.sampled_from([False, False, False, True]), right=st.booleans())
    def advance(self, chance: int, wrong: bool, right: bool) -> None:
        x = self.an_execution(chance)
        stage = x.number("stage") if right or x.number("left") == 0 else chance % 3
        self.twins.call("advance", x.id, x.current, stage, error=WRONG if wrong else None, criteria=[])

    @rule(chance=CHANCE, planned=plans("u", forward=False), empty=st.booleans())
    def begin_rollback(self, chance: int, planned: tuple[Plan, dict[str, Step]], empty: bool) -> None:
        x = self.an_execution(chance)
        plan, steps = (Plan(stages=()), {}) if empty else planned
        self.twins.call("begin_rollback", x.id, 0, plan, steps, remaining=[], timeout_s=20)

    @rule(chance=CHANCE, state=st.sampled_from(["pending", "rolling_back"]))
    def stumble(self, chance: int, state: str) -> None:
        self.twins.call("stumble", self.an_execution(chance).id, state, WRONG, remaining=[WRONG], most=3)

    @rule(chance=CHANCE)
    def conclude(self, chance: int) -> None:
        x = self.an_execution(chance)
        self.twins.call("conclude", x.id, x.fields.get("outcome", "completed"), rollback="partial" if x.current else "")

    @rule(chance=CHANCE, undo=st.booleans(), sure=st.sampled_from([False, False, True]))
    def cancel(self, chance: int, undo: bool, sure: bool) -> None:
        if sure:  # rarely: it ends what is interesting
            self.twins.call("cancel", self.an_execution(chance).id, WRONG, undo=undo)

    @invariant()
    def check(self) -> None:
        self.twins.compare()
        self.rules_of_the_house.check()


def test_both_ledgers_are_one_protocol(valkey: Server) -> None:
    make: Callable[[], RuleBasedStateMachine] = lambda: LedgerModel(valkey)  # noqa: E731 - hypothesis calls it
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=int(os.environ.get("REX_MODEL_EXAMPLES", "40")),
            stateful_step_count=int(os.environ.get("REX_MODEL_STEPS", "40")),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

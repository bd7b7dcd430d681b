"""Random plans under random operations, on both ledgers side by side: same answers, same state, and what must hold.

`REX_MODEL_EXAMPLES` and `REX_MODEL_STEPS` make it search longer. What it finds is told as it was found, at once;
`REX_MODEL_SHRINKS=1` makes it smaller first, which takes minutes.
"""

import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.ledgers import CHOSEN, WRONG
from support.plans import plans
from support.server import Server
from support.twins import PLACES, QUESTIONS, Invariants, Twins, finish

from executor.model.device import Announcement, Vitals
from executor.model.execution import FINAL, TERMINAL, Claimed, Ended, Move
from executor.model.plan import Plan, Step
from executor.model.rollback import Choices, RollbackRequest

EXAMPLES = int(os.environ.get("REX_MODEL_EXAMPLES", "40"))
PHASES = (Phase.generate, *((Phase.shrink,) if "REX_MODEL_SHRINKS" in os.environ else ()))
HOLDERS = st.sampled_from(["w1", "w2", "w3"])
DEVICES = st.sampled_from(["edge-1", "edge-2"])
CHANCE = st.integers(0, 10**6)
STATUSES = ["succeeded", "succeeded", "failed", "retry", "timed_out", "skipped", "cancelled"]


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

    def a_turn(self, x: Any) -> str:
        """For which a coordinator planned: mostly that of now, or it does not say."""
        number = next(self.numbers)
        return str(x.number("turn") - number % 2) if number % 3 else ""

    # -- workers ------------------------------------------------------------------------------------------------------

    @rule(chance=CHANCE, holder=HOLDERS, current=st.sampled_from([True, True, True, False]), parks=st.booleans())
    def claim(self, chance: int, holder: str, current: bool, parks: bool) -> None:
        execution, generation, actions = self.a_message(chance, current=current)
        more = {"holder": holder, "nonce": self.fresh(), "signature": "the message" if parks else ""}
        more["at"] = ("", *PLACES)[chance // 13 % 4]
        self.claims.append(((execution, generation, actions), more))
        self.got(holder, self.twins.call("claim", execution, generation, actions, **more))

    @rule(chance=CHANCE, holder=HOLDERS, times=st.sampled_from([1, 1, 2]))
    def all_messages_come(self, chance: int, holder: str, times: int) -> None:
        """Every message of the open stage, perhaps twice."""
        x = self.an_execution(chance)
        stages = x.generations[x.current].plan.stages
        # before a later way back begins, the number is that of a stage of the one before
        stage = stages[min(x.number("stage"), len(stages) - 1)] if stages else None
        for message in stage.messages * times if stage else ():
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
        more["at"] = ("", claimed.step.device)[chance // 13 % 2]
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

    @rule(holder=HOLDERS, number=st.sampled_from([None, 1, 2]))
    def renew(self, holder: str, number: int | None) -> None:
        vitals = None if number is None else Vitals(number=number)
        self.twins.call("renew", holder, [claimed for mine, claimed in self.held if mine == holder], vitals)

    @rule(holder=HOLDERS)
    def retreat(self, holder: str) -> None:
        self.twins.call("retreat", holder)
        self.twins.call("workers")

    @rule(holder=HOLDERS)
    def leave(self, holder: str) -> None:
        self.twins.call("leave", holder)

    # -- documents of devices -----------------------------------------------------------------------------------------

    @rule(
        holder=HOLDERS, devices=st.sets(DEVICES), store=st.sampled_from(["", "s1", "s1", "s2"]),
        protocol=st.sampled_from([1, 2, 2, 2, 3, 4]),
    )  # fmt: skip
    def register(self, holder: str, devices: set[str], store: str, protocol: int) -> None:
        announced = Announcement(
            devices=tuple(sorted(devices)), store=store, protocol=protocol, host=f"host of {holder}"
        )
        self.twins.call("register", holder, announced)

    @rule(devices=st.sets(DEVICES, min_size=1), text=st.sampled_from(["{}", '{"a":1}', '{"a":2}']), bound=st.booleans())
    def synchronize(self, devices: set[str], text: str, bound: bool) -> None:
        self.twins.call("synchronize", devices, text, execution="E1" if bound else None)

    @rule(holder=HOLDERS, device=DEVICES, late=st.sampled_from([0, 0, 0, 1]))
    def acknowledge(self, holder: str, device: str, late: int) -> None:
        document = self.twins.call("state_of", device)
        self.twins.call("acknowledge", holder, device, document.version - late if document else 1)

    # -- watchdog -----------------------------------------------------------------------------------------------------

    @rule(holder=HOLDERS, sure=st.booleans(), fence=st.sampled_from([False, False, True]))
    def bury(self, holder: str, sure: bool, fence: bool) -> None:
        leases = self.twins.call("fence", holder) if fence else sorted(self.twins.memory.leases(holder))
        for lease in leases:
            self.twins.call("expire", holder, lease, sure=sure, error=WRONG)

    @rule(chance=CHANCE, wait_s=st.sampled_from([0.0, 60.0, None]))
    def abandon(self, chance: int, wait_s: float | None) -> None:
        execution, generation, actions = self.a_message(chance)
        self.twins.call("abandon_all", execution, generation, dict.fromkeys(actions, WRONG), wait_s=wait_s)

    @rule(chance=CHANCE, to=st.sampled_from(PLACES), alone=st.booleans())
    def move(self, chance: int, to: str, alone: bool) -> None:
        """A message whose device is lost, or all of its stage, go to another device; now and then to the wrong one."""
        x = self.an_execution(chance)
        execution, generation, actions = self.a_message(chance)
        stages = x.generations[generation].plan.stages
        messages = [tuple(actions)] if alone or not stages else list(stages[x.number("stage") % len(stages)].messages)
        known = x.known(generation, messages[0][0])
        lost = x.device(generation, messages[0][0]) if known and chance % 5 else "d3"
        one = Move(lost, to, tuple(messages), "it is lost", "gone" if chance % 2 else "")
        self.twins.call("move", execution, generation, [one])
        self.twins.call("moved_to", execution, generation, actions)

    @rule(device=st.sampled_from(PLACES), undo=st.booleans())
    def drain(self, device: str, undo: bool) -> None:
        self.twins.drain(device, undo=undo)

    @rule(chance=CHANCE)
    def touch(self, chance: int) -> None:
        execution, generation, actions = self.a_message(chance)
        self.twins.call("served", execution, generation, actions)
        self.twins.call("touch", execution, generation, actions)
        self.twins.call("waiting", execution, generation, actions)
        self.twins.call("open_stages")

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

    @rule(chance=CHANCE, whatever=st.booleans())
    def postpone(self, chance: int, whatever: bool) -> None:
        """Senders are at it for long, also with what was written again since."""
        self.collect()
        if self.unstruck:
            sent = self.unstruck[chance % len(self.unstruck)]
            self.twins.call("postpone", sent.partition("#")[0] if whatever else sent)

    @rule(chance=CHANCE, wrong=st.sampled_from([False, False, False, True]), right=st.booleans())
    def advance(self, chance: int, wrong: bool, right: bool) -> None:
        x = self.an_execution(chance)
        stage = x.number("stage") if right or x.number("left") == 0 else chance % 3
        self.twins.call("advance", x.id, x.current, stage, error=WRONG if wrong else None, criteria=[])

    def before_its_way_back(self, chance: int, *, brought: bool) -> Any:
        """An execution, perhaps brought to where a way back can begin."""
        x = self.an_execution(chance)
        if brought and x.state in TERMINAL:
            self.twins.call("reopen", x.id, RollbackRequest(by="ann", key=self.fresh()))
        elif brought and x.state in ("running", "stopping"):
            self.twins.call("cancel", x.id, WRONG, undo=True)
            for holder in ("w1", "w2", "w3"):
                for lease in sorted(lease for lease in self.twins.memory.leases(holder) if lease[0] == x.id):
                    self.twins.call("expire", holder, lease, sure=True, error=WRONG)
        return x

    # -- ways back ----------------------------------------------------------------------------------------------------

    @rule(
        chance=CHANCE,
        planned=plans("u", forward=False),
        empty=st.sampled_from([False, False, True]),
        timeout_s=st.sampled_from([1.0, 20.0]),
        late=st.sampled_from([False, False, False, True]),
        brought=st.sampled_from([False, False, True]),
    )
    def begin_rollback(
        self,
        chance: int,
        planned: tuple[Plan, dict[str, Step]],
        empty: bool,
        timeout_s: float,
        late: bool,
        brought: bool,
    ) -> None:
        x = self.before_its_way_back(chance, brought=brought)
        plan, steps = (Plan(stages=()), {}) if empty else planned
        generation = x.number("last") if late else 0
        more: dict[str, Any] = {"remaining": [WRONG], "timeout_s": timeout_s, "chosen": CHOSEN, "turn": self.a_turn(x)}
        self.twins.call("begin_rollback", x.id, generation, plan, steps, **more)

    @rule(chance=CHANCE, key=st.sampled_from(["", "k1", "k2"]), ends=st.booleans())
    def reopen(self, chance: int, key: str, ends: bool) -> None:
        """Somebody wants it taken back; half of the time when it has ended."""
        x = self.an_execution(chance)
        if ends and x.state not in TERMINAL and len(x.generations) < 3:
            finish(self.twins, x.id, self.fresh)
        self.twins.call("reopen", x.id, RollbackRequest(by="ann", key=key, force=chance % 2 == 0))

    @rule(chance=CHANCE, wait_s=st.sampled_from([0.0, 5.0]), brought=st.booleans())
    def offer(self, chance: int, wait_s: float, brought: bool) -> None:
        x = self.before_its_way_back(chance, brought=brought)
        told = {"actions": {"a0": {}}, "default": "undo"}
        self.twins.call("offer", x.id, told, wait_s=wait_s, turn=self.a_turn(x))
        self.twins.call("offered", x.id)

    @rule(chance=CHANCE, key=st.sampled_from(["", "c1", "c2"]))
    def choose(self, chance: int, key: str) -> None:
        x = self.an_execution(chance)
        answer = Choices(choices={"a0": "keep"}, by="ann", key=key, turn=self.a_turn(x))
        self.twins.call("choose", x.id, answer)

    @rule(chance=CHANCE, timeout_s=st.sampled_from([1.0, 20.0]))
    def resume(self, chance: int, timeout_s: float) -> None:
        """What was broken off goes on, and some of what failed, in the open stage."""
        x = self.an_execution(chance)
        stages, rows = x.generations[0].plan.stages, x.generations[0].actions
        stage = stages[x.number("stage", -1)].steps if 0 <= x.number("stage", -1) < len(stages) else ()
        became = {name: rows.get(name, {}).get("status", "ready") for name in stage}
        fails = ("failed", "timed_out") if chance % 3 else ("failed",)
        again = [name for name, status in became.items() if status in (*fails, "cancelled") or status not in FINAL]
        if self.twins.call("resume", x.id, CHOSEN, again, timeout_s=timeout_s, turn=self.a_turn(x)):
            self.rules_of_the_house.go_on(x.id, again)

    @rule(chance=CHANCE, key=st.sampled_from(QUESTIONS), replies=st.booleans())
    def ask(self, chance: int, key: str, replies: bool) -> None:
        self.twins.call("ask", self.an_execution(chance).id, "rollback.preview", {"force": True}, key)
        if replies:
            self.twins.call("reply", key, {"steps": chance})
            if chance % 2:
                assert self.twins.call("answer", key, 1.0) == {"steps": chance}

    @rule(chance=CHANCE, state=st.sampled_from(["pending", "rolling_back"]))
    def stumble(self, chance: int, state: str) -> None:
        self.twins.call("stumble", self.an_execution(chance).id, state, WRONG, remaining=[WRONG], most=3)

    @rule(chance=CHANCE)
    def conclude(self, chance: int) -> None:
        x = self.an_execution(chance)
        outcome = x.fields.get("outcome") or "completed"
        if outcome == "rolled_back" and chance % 2:
            outcome = "completed"  # nothing of it was taken back
        self.twins.call("conclude", x.id, outcome, rollback="partial" if x.current else "")

    @rule(chance=CHANCE)
    def forget(self, chance: int) -> None:
        """Only what has ended; what comes for it later finds nothing. One stays, so that there is something to do."""
        x = self.an_execution(chance)
        if len(self.twins.memory._store.executions) > 1 or x.state not in TERMINAL:
            ended = x.state in TERMINAL
            self.twins.call("forget", x.id)
            assert (x.id not in self.twins.memory._store.executions) == ended
            if ended:
                self.rules_of_the_house.forget(x.id)

    @rule(chance=CHANCE, undo=st.booleans(), sure=st.sampled_from([False, False, True]))
    def cancel(self, chance: int, undo: bool, sure: bool) -> None:
        if sure:  # rarely: it ends what is interesting
            self.twins.call("cancel", self.an_execution(chance).id, WRONG, undo=undo)

    @invariant()
    def check(self) -> None:
        self.twins.compare()
        self.rules_of_the_house.check()


@pytest.mark.timeout(120 + 9 * EXAMPLES)
@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(3 * EXAMPLES, marks=pytest.mark.thorough)])
def test_both_ledgers_are_one_protocol(valkey: Server, examples: int) -> None:
    """Whatever is done, and in whatever order."""
    make: Callable[[], RuleBasedStateMachine] = lambda: LedgerModel(valkey)  # noqa: E731 - hypothesis calls it
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=examples,
            stateful_step_count=int(os.environ.get("REX_MODEL_STEPS", "40")),
            deadline=None,
            database=None,
            phases=PHASES,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )

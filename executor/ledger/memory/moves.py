"""The moves that change states; the ledger's methods are made of these. The twin of ``lua/prelude.lua``."""

import json
from typing import Any

from executor.ledger.memory.state import Entry, Execution, Store
from executor.ledger.wire import EFFECTS
from executor.model.fan_out import action_of, device_of

RESEND_MS = 2000
IDLE_MS = 1000
TAKEOVERS = 5
FENCED_MS = 86_400_000
EVENT_OF = {
    "succeeded": "completed",
    "failed": "failed",
    "timed_out": "failed",
    "skipped": "skipped",
    "cancelled": "cancelled",
}


class Moves:
    """Changes to a store; its caller holds the lock."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = 0
        self.sending: list[str] = []
        self.sends = True
        """Whether the caller sends what it is given; else it is due at once."""

    # -- events and outbox --------------------------------------------------------------------------------------------

    def emit(self, x: Execution, name: str, outcome: str = "", **data: Any) -> None:
        x.put(seq=x.number("seq") + 1)
        seq = x.number("seq")
        told = {**data, **json.loads("{" + outcome + "}")}
        x.events.append(
            {"seq": seq, "id": f"{x.id}-{seq}", "event": name, "executionId": x.id, "timestamp": self.now, "data": told}
        )

    def tell(self, name: str, **data: Any) -> None:
        """An event of the fleet, which belongs to no execution."""
        seq = len(self.store.told) + 1
        self.store.told.append(
            {
                "seq": seq,
                "id": f"fleet-{seq}",
                "event": name,
                "executionId": "fleet",
                "timestamp": self.now,
                "data": data,
            }
        )

    def emit_action(self, x: Execution, generation: int, what: str, outcome: str = "", **data: Any) -> None:
        self.emit(x, ("rollback:action:" if generation else "execution:action:") + what, outcome, **data)

    def post(self, name: str, due: int, entry: dict[str, Any], *, now: bool) -> None:
        """Each writing has a number: who has sent one strikes out that one, never what was written since."""
        if now and not self.sends:
            due, now = self.now, False
        self.store.entries += 1
        text = json.dumps(entry)
        self.store.outbox[name] = Entry(due, self.store.entries, text)
        self.store.nudged |= due < self.now + IDLE_MS
        if now:
            self.sending += [f"{name}#{self.store.entries}", text]

    def post_task(self, name: str, task: str, task_id: str, args: list[Any], *, due: int, now: bool = False) -> None:
        self.post(name, due, {"kind": "task", "task": task, "id": task_id, "args": args}, now=now)

    def post_message(self, x: Execution, generation: int, action: str, signature: str, due: int, *, now: bool) -> None:
        self.post(f"p:{x.id}|{generation}|{action}", due, {"kind": "signature", "signature": signature}, now=now)

    def strike(self, name: str) -> None:
        self.store.outbox.pop(name, None)

    # -- waiting ------------------------------------------------------------------------------------------------------

    def unpark(self, x: Execution, generation: int, action: str) -> bool:
        """Send the parked message of an action, if there is one."""
        signature = self.store.parked.pop((x.id, generation, action), None)
        if signature is None:
            return False
        self.post_message(x, generation, action, signature, self.now + 1000, now=True)
        return True

    def wake(self, x: Execution) -> None:
        """A freed slot goes to who has waited longest; it is taken for them here, so nobody overtakes."""
        limit = x.number("limit")
        while x.queue and limit and len(x.slots) < limit:
            action = x.queue.pop(0)
            x.action(x.current, action)["since"] = str(self.now)
            if self.unpark(x, x.current, action):
                x.slots.add(action)

    def pass_on(self, x: Execution, generation: int, fan_out: str, action: str) -> None:
        """A place in the window of a rolling fan-out that is given up goes to whoever has waited longest."""
        window = x.generations[generation].windows.get(fan_out)
        if window is None or action not in window.places:
            return
        window.places.discard(action)
        while window.queue and x.is_open(generation):
            waiting = window.queue.pop(0)
            x.action(generation, waiting)["since"] = str(self.now)
            if self.unpark(x, generation, waiting):
                window.places.add(waiting)
                return

    def release(self, x: Execution, generation: int, action: str) -> None:
        x.live.discard((generation, action))
        x.slots.discard(action)
        x.delayed.discard((generation, action))
        holder = x.action(generation, action).get("holder")
        if holder is not None:
            self.end_lease(holder, (x.id, generation, action))

    def end_lease(self, holder: str, lease: tuple[str, int, str]) -> None:
        self.store.leases[holder].discard(lease)
        if not self.store.leases[holder]:
            del self.store.leases[holder]

    # -- ends ---------------------------------------------------------------------------------------------------------

    def finish(self, x: Execution, generation: int, action: str, status: str, outcome: str) -> None:
        """The only place where an action becomes final, and the only one that counts ``left`` down."""
        x.action(generation, action).update(
            status=status, outcome="{" + outcome + "}", finished=str(self.now), token=""
        )
        self.release(x, generation, action)
        self.store.parked.pop((x.id, generation, action), None)
        if device_of(action):
            if status not in ("succeeded", "skipped"):
                x.generations[generation].missed[action_of(action)] += 1
            self.pass_on(x, generation, action_of(action), action)
        self.emit_action(x, generation, EVENT_OF[status], outcome, action=action, status=status)
        if x.is_open(generation):
            x.put(left=x.number("left") - 1)
            if x.number("left") == 0:
                self.ask_to_advance(x)
            self.wake(x)

    def fail(self, x: Execution, generation: int, action: str, error: str) -> bool:
        """What a failure means for its execution; true where it is fatal."""
        rules = x.rule(generation, action)
        rule, several = rules["f"], False
        if rule == "continue":
            if generation > 0:
                return False
            x.put(failures=x.number("failures") + 1)
            x.action(generation, action)["borne"] = "1"
            if "of" in rules:
                failed = x.generations[generation].failed
                failed[rules["of"]] += 1
                several = failed[rules["of"]] > rules["b"]
            if not several and ("max_failures" not in x.fields or x.number("failures") <= x.number("max_failures")):
                return False
        x.action(generation, action)["fatal"] = "1"
        if generation > 0:
            if rule == "stop" and x.state == "rolling_back":
                self.stop(x, "halt", "", error)
            return True
        if x.state in ("running", "stopping"):
            self.stop(x, "stop" if rule == "stop" else "rollback", "failed", error)
        return True

    def stop(self, x: Execution, mode: str, outcome: str, error: str) -> None:
        """No claim answers "run" from here on. `mode`: rollback, or stop; of a rollback cut, or halt."""
        if x.state == "stopping":
            # of several failures rollback beats stop; who cancelled without undo has decided
            if mode == "rollback" and x.fields["mode"] == "stop" and x.fields["outcome"] != "cancelled":
                x.put(mode=mode, error=error)
            self.drain(x)
            return
        x.put(state="stopping", mode=mode)
        if x.current == 0:
            x.put(outcome=outcome, error=error)
        else:
            x.put(halted=error)
        self.emit(x, "execution:stopping", '"error":' + error, mode=mode)
        for action in (*x.queue, *x.drain_waits):
            self.store.parked.pop((x.id, x.current, action), None)
        x.queue.clear()
        for window in x.generations[x.current].windows.values():
            for action in window.queue:
                self.store.parked.pop((x.id, x.current, action), None)
            window.queue.clear()
        x.drain_waits.clear()
        for generation, action in sorted(x.delayed):
            self.strike(f"p:{x.id}|{generation}|{action}")
            last = x.action(generation, action).get("outcome", "{}")
            self.finish(x, generation, action, "cancelled", last[1:-1])
        self.drain(x)

    def drain(self, x: Execution) -> None:
        """A stopping execution whose last live claim is gone goes on: to its rollback, or to its end."""
        if x.state != "stopping" or x.live or x.ghosts:  # somebody who cannot be asked may still be at it
            return
        if x.fields["mode"] != "rollback" or x.current != 0 or x.fields["rollback"] == "none":
            self.conclude_later(x)
            return
        x.put(state="rolling_back", rb_started=self.now)
        x.turn()
        self.emit(x, "rollback:started", '"reason":' + x.fields.get("error", "null"))
        self.begin_later(x, self.now + RESEND_MS, now=True)

    def begin_later(self, x: Execution, due: int, *, now: bool = False) -> None:
        self.post_task("rb:" + x.id, "rollback.begin", x.id + ":begin", [x.id], due=due, now=now)

    def conclude_later(self, x: Execution) -> None:
        x.put(state="concluding")
        due = self.now + RESEND_MS
        self.post_task("con:" + x.id, "executor.conclude", x.id + ":conclude", [x.id], due=due, now=True)

    # -- stages -------------------------------------------------------------------------------------------------------

    def ask_to_advance(self, x: Execution) -> None:
        at = [x.current, x.number("stage")]
        # messages of moved actions carry no chord: then nobody else asks
        later = 0 if "moves" in x.fields else 1000
        name, task_id = "adv:{}|{}|{}".format(x.id, *at), "{}:{}:{}".format(x.id, *at)
        self.post_task(name, "executor.advance", task_id, [x.id, *at], due=self.now + later)

    def open_stage(self, x: Execution, stage: int) -> None:
        left = x.generations[x.current].plan.sizes()[stage]
        x.put(stage=stage, left=left, opened=self.now)
        self.emit(x, "execution:stage:started", generation=x.current, stage=stage, actions=left)
        self.publish_stage(x)

    def publish_stage(self, x: Execution) -> None:
        left, stage = x.number("left"), x.number("stage")
        if left == 0:
            self.ask_to_advance(x)
            return
        moved = {"moved": True} if "moves" in x.fields else {}
        entry = {"kind": "stage", "execution": x.id, "generation": x.current, "stage": stage, **moved}
        self.post(f"st:{x.id}|{x.current}|{stage}", self.now + RESEND_MS, entry, now=True)


def worst(before: str | None, effect: str) -> str:
    """What is known of an effect only ever gets worse."""
    return max(before or "none", effect, key=EFFECTS.index)

"""Who may run what, in memory: `claim_one` and `claim_first` of ``lua/prelude_claims.lua``."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from executor.ledger.memory.moves import Moves
from executor.ledger.memory.state import Execution
from executor.ledger.wire import claim_answer
from executor.model.execution import FINAL, Answer, Claimed


@dataclass(frozen=True)
class Asking:
    """A worker that asks for the actions of its message."""

    x: Execution
    generation: int
    holder: str
    nonce: str
    signature: str
    """The message itself, to be parked; without it the answer is that it is needed."""
    at: str = ""
    """The device whose queue delivered it; empty where nobody knows."""


class Claims(Moves):
    """The moves by which actions begin."""

    def claim_first(self, ask: Asking, actions: Iterable[str]) -> Claimed | Answer:
        """The first action of a message that is not final yet."""
        for action in actions:
            if not ask.x.known(ask.generation, action):
                return Answer("unknown", action)
            fields = ask.x.action(ask.generation, action)
            if fields.get("status") in FINAL:
                if "fatal" in fields:
                    return Answer("failed", action, fields.get("outcome", "{}"))
                continue
            refusal = self._refusal(ask, action)
            if refusal is not None:
                return refusal
            if not self._skipped(ask, action):
                return self._run(ask, action)
        return Answer("done")

    def _refusal(self, ask: Asking, action: str) -> Answer | None:
        """Why an action is not to be run now."""
        x, fields, rule = ask.x, ask.x.action(ask.generation, action), ask.x.rule(ask.generation, action)
        if not x.is_open(ask.generation):
            if fields.get("status") == "running" and fields["nonce"] == ask.nonce:
                # the first answer was lost on its way: nothing has begun
                reason = '"reason":"the execution was stopped before it began"'
                self.finish(x, ask.generation, action, "cancelled", reason)
                self.drain(x)
            return Answer("cancelled", action)
        if rule["s"] != x.number("stage"):
            return Answer("unknown", action)
        device = x.device(ask.generation, action)
        if ask.at not in ("", device):
            return Answer("moved", action, device)
        if "p" in rule and x.action(ask.generation, rule["p"]).get("status") not in FINAL:
            return Answer("early", action)
        return Answer("wait", action) if fields.get("status") == "waiting" else None

    def _skipped(self, ask: Asking, action: str) -> bool:
        """Whether what it needs did not come about; then it ends here."""
        x = ask.x
        if x.action(ask.generation, action).get("status") == "running":
            return False
        instead = x.rule(ask.generation, action).get("o")
        if self._needs_missing(ask, action):
            return True
        if instead is not None and x.action(ask.generation, instead).get("status") == "succeeded":
            reason = json.dumps(f"restored with {instead}")
            self.finish(x, ask.generation, action, "skipped", '"reason":' + reason)
            return True
        return False

    def _needs_missing(self, ask: Asking, action: str) -> bool:
        x = ask.x
        for need, ended_is_enough, *fans_out in x.rule(ask.generation, action).get("n", ()):
            if fans_out:
                missing = not ended_is_enough and x.generations[ask.generation].missed[need] > 0
            else:
                became = x.action(ask.generation, need).get("status")
                missing = became not in ("succeeded", "skipped") and not (ended_is_enough and became in FINAL)
            if missing:
                reason = json.dumps(f"it needs {need}, which did not succeed")
                self.finish(x, ask.generation, action, "skipped", '"reason":' + reason)
                return True
        return False

    def _run(self, ask: Asking, action: str) -> Claimed | Answer:
        x, fields = ask.x, ask.x.action(ask.generation, action)
        if fields.get("status") == "running":
            if fields["nonce"] != ask.nonce:
                return self._park(ask, action, "it runs elsewhere", [])
            return self._claimed(x, ask.generation, action)  # the first answer was lost on its way
        device = x.device(ask.generation, action)
        begun = "attempt" in fields or "probe" in fields
        if ask.generation == 0 and not begun and device in self.store.drained:
            return self._park_drained(ask, action, device)
        rule = x.rule(ask.generation, action)
        # its place in the window comes first: who holds a slot runs, and so nobody holds one and waits for a place
        if "k" in rule:
            window = x.generations[ask.generation].windows[rule["of"]]
            if action not in window.places:
                if len(window.places) >= rule["k"]:
                    return self._park(ask, action, "max_unavailable", window.queue)
                window.places.add(action)
        limit = x.number("limit")
        if limit and action not in x.slots:
            if len(x.slots) >= limit:
                return self._park(ask, action, "limits.parallel", x.queue)
            x.slots.add(action)
        self._begin(ask, action)
        return self._claimed(x, ask.generation, action)

    def _park(self, ask: Asking, action: str, reason: str, queue: list[str]) -> Answer:
        """One parking place per action; who parks there first joins the queue for what he waits for."""
        if not ask.signature:
            return Answer("signature", action)
        place = (ask.x.id, ask.generation, action)
        if place not in self.store.parked:
            queue.append(action)
        self.store.parked[place] = ask.signature
        return Answer("park", action, reason)

    def _park_drained(self, ask: Asking, action: str, device: str) -> Answer:
        answer = self._park(ask, action, "drained", [])
        if answer.kind == "park":
            self.store.drainpark[device].add((ask.x.id, ask.generation, action))
            ask.x.drain_waits.add(action)
            if action in ask.x.slots:
                ask.x.slots.discard(action)
                self.wake(ask.x)
            self.pass_on(ask.x, ask.generation, ask.x.rule(ask.generation, action).get("of", ""), action)
        return answer

    def _begin(self, ask: Asking, action: str) -> None:
        x, generation, nonce, holder = ask.x, ask.generation, ask.nonce, ask.holder
        fields, rule, device = x.action(generation, action), x.rule(generation, action), x.device(generation, action)
        mode = "probe" if fields.pop("probe", None) else "execute"
        if fields.pop("unserved", None) and generation > 0:
            x.drop("rb_waits", "waiting_for")  # who else waits says so again
        attempt = int(fields.get("attempt", 0))
        if mode == "execute" or attempt == 0:  # a take-over is no attempt
            attempt += 1
        fields.update(
            status="running", nonce=nonce, token=f"{attempt}:{nonce}", attempt=str(attempt), mode=mode, holder=holder,
            device=device, deadline=str(self.now + rule["t"]),
        )  # fmt: skip
        if "ord" not in fields:
            x.put(ord=x.number("ord") + 1)
            fields.update(started=str(self.now), ord=x.fields["ord"])
        x.live.add((generation, action))
        self.store.leases[holder].add((x.id, generation, action))
        self.emit_action(x, generation, "started", action=action, device=device, attempt=attempt, mode=mode)

    def _claimed(self, x: Execution, generation: int, action: str) -> Claimed | Answer:
        fields, rule = x.action(generation, action), x.rule(generation, action)
        reads = []
        several = x.generations[0].plan.fan_outs if "rf" in rule else {}
        for name in [*rule.get("r", ()), *(one for of in rule.get("rf", ()) for one in several[of])]:
            other = x.generations[0].actions.get(name, {})
            reads.append([name, *(other.get(part, "") for part in ("status", "outcome", "device"))])
            reads[-1].append(other.get("attempt", "0"))
        undone = x.generations[0].actions.get(rule.get("u", ""), {})
        about = [undone.get(part, "") for part in ("outcome", rule.get("w", "undo"), "last_error")]
        got: list[Any] = [
            "run", action, fields["token"], fields["attempt"], fields["mode"],
            x.generations[generation].specs[action], x.fields["strategy"], x.fields["inputs"] if "i" in rule else "",
            x.fields["context"] if "c" in rule else "", reads, about, fields.get("undo", ""),
            fields.get("undo_fallback", ""), str(self.now), x.device(generation, action),
        ]  # fmt: skip
        return claim_answer(x.id, generation, got)

"""Actions whose device is lost go to another one, in memory: ``lua/move.lua``."""

import json
from collections.abc import Iterable, Sequence

from executor.ledger.memory.actions import MemoryActions
from executor.ledger.memory.moves import RESEND_MS
from executor.ledger.memory.state import Execution
from executor.model.execution import FINAL, Move


class MemoryMoving(MemoryActions):
    """Moving from device to device."""

    def move(self, execution: str, generation: int, moves: Iterable[Move], *, term: str = "") -> list[str]:
        """Give messages whose device is lost to others, each whole or not at all; returns the moved actions."""
        moved: list[str] = []
        for one in moves:
            with self._step(term):
                x = self._store.executions.get(execution)
                if x is not None and x.is_open(generation) and one.lost != one.to:
                    moved += self._move(x, generation, one)
        return moved

    def _move(self, x: Execution, generation: int, one: Move) -> list[str]:
        do, moved = self._moves, list[str]()
        for message in one.messages:
            whole = bool(message) and all(self._may_move(x, generation, name, one.lost) for name in message)
            if not whole or not (moved or _has_its_turn(x, generation, message)):
                continue
            if one.error and "lost:" + one.lost not in x.fields:
                x.fields["lost:" + one.lost] = str(do.now)
                do.emit(x, "distributed:device:failed", device=one.lost, error=one.error)
            for name in message:
                self._move_one(x, generation, name, one)
                moved.append(name)
        if moved:
            number = x.number("moves") + 1
            x.put(moves=number)
            entry = {
                "kind": "again", "execution": x.id, "generation": generation, "stage": x.number("stage"),
                "actions": moved,
            }  # fmt: skip
            do.post(f"ag:{x.id}|{generation}|{number}", do.now + RESEND_MS, entry, now=True)
        return moved

    def _may_move(self, x: Execution, generation: int, action: str, lost: str) -> bool:
        if not x.known(generation, action):
            return False
        fields, rule = x.action(generation, action), x.rule(generation, action)
        if "m" not in rule or rule["s"] != x.number("stage") or fields.get("status", "ready") != "ready":
            return False
        begun = "attempt" in fields or "probe" in fields
        return x.device(generation, action) == lost and (not begun or "id" in rule or "re" in rule)

    def _move_one(self, x: Execution, generation: int, action: str, one: Move) -> None:
        do, fields, place = self._moves, x.action(generation, action), (x.id, generation, action)
        if "re" not in x.rule(generation, action):
            self._leave_behind(x, generation, action, one.lost)
        if fields.pop("unserved", None) and generation > 0:
            x.drop("rb_waits", "waiting_for")  # who else waits says so again
        fields.update(status="ready", at=one.to, since=str(do.now))
        self._store.parked.pop(place, None)
        self._store.drainpark[one.lost].discard(place)
        x.drain_waits.discard(action)
        window = x.generations[generation].windows.get(x.rule(generation, action).get("of", ""))
        for queue in (x.queue, window.queue if window is not None else []):
            if action in queue:
                queue.remove(action)
        do.strike("p:{}|{}|{}".format(*place))
        told = {"from": one.lost, "to": one.to, "reason": one.reason}
        do.emit_action(x, generation, "moved", action=action, **told)

    def _leave_behind(self, x: Execution, generation: int, action: str, lost: str) -> None:
        """It may have begun where nobody can look any more: that is kept apart, and it begins anew elsewhere."""
        fields = x.action(generation, action)
        effects = [fields.pop(name, "none") for name in ("effect", "effect_fallback")]
        records = [fields.pop(name, "null") for name in ("undo", "undo_fallback")]
        if effects == ["none", "none"]:
            return
        left = (
            f'{{"device":{json.dumps(lost)},"effect":{json.dumps(effects[0])},"undo":{records[0]},'
            f'"effect_fallback":{json.dumps(effects[1])},"undo_fallback":{records[1]}}}'
        )
        fields["left"] = f"{fields['left'][:-1]},{left}]" if "left" in fields else f"[{left}]"


def _has_its_turn(x: Execution, generation: int, message: Sequence[str]) -> bool:
    before = x.rule(generation, message[0]).get("p")
    return before is None or x.action(generation, before).get("status") in FINAL

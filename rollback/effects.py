"""What is known of the effects of an action and of its fallback, and so what is to be taken back."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from executor.model.plan import FALLBACK, Call, Step, WayBack

_NOBODY_KNOWS = "nobody knows whether it was done, and its type cannot tell"


@dataclass(frozen=True)
class Part:
    """An action, or its fallback, with what is known of its effect."""

    step: Step
    action: Mapping[str, str]
    call: Call
    how: WayBack
    effect: str
    record: Any
    of_fallback: bool

    @property
    def name(self) -> str:
        return self.step.id + FALLBACK * self.of_fallback

    @property
    def device(self) -> str:
        return self.action.get("device") or self.step.device

    @property
    def order(self) -> int:
        return 2 * int(self.action.get("ord", 0)) + self.of_fallback

    @property
    def target(self) -> str:
        return str(self.record.get("target") or "") if self.record else ""

    def left(self, reason: str) -> dict[str, Any]:
        return {"action": self.step.id, "device": self.device, "reason": reason, "what": self.call.shown()}

    def verdict(self) -> tuple[str, str]:
        """undo, probe, leave (with the reason) or nothing: the table "What is taken back" of the strategy reference."""
        how, effect = self.how, self.effect
        if effect == "none" or how.rule in ("none", "nothing"):
            return "nothing", ""
        if how.rule == "restores":
            # a fallback leaves a record in any case, with no data where its type saved nothing
            return ("undo", "") if self.record and self.record.get("data") is not None else ("nothing", "")
        if how.rule == "started":
            return "undo", ""
        if effect == "started":
            return "nothing", ""
        if how.rule == "lacking":
            known = "it was done" if effect == "completed" else _NOBODY_KNOWS
            return "leave", f"{known}, and no way back is declared"
        return ("undo", "") if effect == "completed" else ("probe", "")


def left_behind(step: Step, action: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """What may stand on devices that were lost while the action ran there; it began anew elsewhere."""
    for left in json.loads(action.get("left") or "[]"):
        there = {**action, **left, "undo": json.dumps(left["undo"]), "undo_fallback": json.dumps(left["undo_fallback"])}
        for part in parts_of(step, there):
            if part.verdict()[0] != "nothing":
                yield part.left(f"it may have begun on {left['device']} before that device was lost")


def parts_of(step: Step, action: Mapping[str, str]) -> Iterator[Part]:
    """The fallback first: it came last."""
    if step.fallback is not None:
        effect, record = action.get("effect_fallback", "none"), json.loads(action.get("undo_fallback") or "null")
        yield Part(step, action, step.fallback.call, step.fallback.way_back, effect, record, of_fallback=True)
    effect, record = action.get("effect", "none"), json.loads(action.get("undo") or "null")
    yield Part(step, action, step.call, step.way_back, effect, record, of_fallback=False)

"""The effect log, what is known of each action from it, and the table "What is taken back" written down once more.

Nothing here knows the code that it judges: it reads the drawn case, the log, and how the report says that it ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from support.property_cases import FILES, Act, Case, Way

Json = dict[str, Any]

UNKNOWN_ERRORS = {"ActionTimedOut", "ActionCancelled", "Interrupted", "Unanswered"}
FORWARD = ("do", "try", "end")
BACK = ("undo", "untry")

TABLE = {
    #           restores  completed  started  lacking   none
    "done":    ("undo",   "undo",    "undo",  "listed", "no"),
    "failed":  ("undo",   "no",      "undo",  "no",     "no"),
    "unknown": ("undo",   "listed",  "undo",  "listed", "no"),
    "none":    ("no",     "no",      "no",    "no",     "no"),
}  # fmt: skip
COLUMNS = ("restores", "completed", "started", "lacking", "none")


@dataclass(frozen=True)
class Line:
    """One line of the effect log."""

    word: str
    """do, end (of what takes a while), try (failed before its effect); undo, untry; go (a later rollback was asked)."""
    part: str
    """An action, or its fallback as ``a1.fb``."""
    attempt: int
    at: int
    go: int


def parsed(lines: Sequence[str]) -> list[Line]:
    found, go = [], 0
    for at, line in enumerate(lines):
        word, part, *rest = line.split()
        if word == "go":
            go = int(part)
            continue
        found.append(Line(word, part, int(rest[0]), at, go))
    return found


@dataclass(frozen=True)
class Part:
    """An action or its fallback, with all that can have become of it: keys of TABLE."""

    name: str
    act: Act
    way: Way
    known: frozenset[str]

    @property
    def column(self) -> str:
        if self.way.rule != "auto":
            return self.way.rule
        # a Python action takes back what it completed, and cannot tell whether it did
        return "restores" if self.act.kind in FILES else "completed"

    @property
    def due(self) -> frozenset[str]:
        """What may be right: undo, listed, no."""
        column = COLUMNS.index(self.column)
        return frozenset(TABLE[known][column] for known in self.known)


def worked(act: Act, attempt: int) -> bool:
    """Whether that attempt was told to work."""
    return act.does == "works" or (act.does in ("flaky", "shaky") and attempt > 1)


def parts_of(case: Case, report: Json, lines: Sequence[Line], events: Sequence[Json]) -> list[Part]:
    """Every part of every action."""
    errors: dict[str, set[str]] = {}
    for event in events:
        if event["event"] == "execution:action:retrying":
            errors.setdefault(event["data"]["action"], set()).add((event["data"].get("error") or {}).get("type", ""))
        elif event["event"] == "execution:action:interrupted":
            errors.setdefault(event["data"]["action"], set()).add("its worker died")
    found = []
    for act in case.acts:
        told = report["actions"].get(act.name)
        if told is None:  # it was cancelled before it was planned
            continue
        known = _known(act, told, errors.get(act.name, set()), [line for line in lines if line.part == act.name])
        found.append(Part(act.name, act, act.way, known))
        if act.fallback is not None:
            name = f"{act.name}.fb"
            own = [line for line in lines if line.part == name and line.word in FORWARD]
            found.append(Part(name, act, act.fallback.way, _known_fallback(act, told, own)))
    return found


def _known(act: Act, told: Json, earlier: set[str], lines: Sequence[Line]) -> frozenset[str]:
    status, last = told["status"], (told["error"] or {}).get("type")
    if status in ("pending", "skipped") or not told["attempts"]:
        return frozenset({"none"})
    if status == "succeeded" and not told["degraded"]:
        return frozenset({"done"})
    if earlier & UNKNOWN_ERRORS or last in UNKNOWN_ERRORS:
        logs = act.kind not in FILES
        began = any(line.word in ("do", "try") for line in lines)
        # killed before its first line it may have begun or not; what logs nothing may always have been too late
        return frozenset({"unknown"} if logs and began else {"unknown", "none", "failed"})
    if "its worker died" in earlier:
        return frozenset({"unknown", "none", "failed"})
    if status == "cancelled" and last is None:
        return frozenset({"none", "failed"} if any(line.word == "try" for line in lines) else {"none"})
    if act.unmet and worked(act, told["attempts"]):
        return frozenset({"done"})
    return frozenset({"failed", "none"} if act.kind in FILES else {"failed"})


def _known_fallback(act: Act, told: Json, lines: Sequence[Line]) -> frozenset[str]:
    if told["degraded"]:
        return frozenset({"done"})
    cut = told["status"] == "cancelled" or (told["error"] or {}).get("type") == "Interrupted"
    if not lines:
        return frozenset({"none", "unknown"} if cut else {"none"})
    if act.fallback is not None and act.fallback.does == "works":
        return frozenset({"unknown"})
    return frozenset({"failed", "unknown"} if cut else {"failed"})

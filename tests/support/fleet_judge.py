"""Judges an execution on a fleet by the effect logs, its files, and its events; never by the ledger alone.

Each problem begins with the number of the invariant (chapter 3 of the design) that it breaks.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from support.shapes import actions_of, file_of, is_logged, number_of, ranks

Json = dict[str, Any]
_TICK_S = 0.02
"""How finely lines are timed."""
_ENDS = ("completed", "failed", "skipped", "cancelled")


@dataclass(frozen=True)
class Line:
    at: float
    word: str
    action: str


@dataclass(frozen=True)
class Seen:
    """All that is known of one execution."""

    document: Json
    report: Json
    events: Sequence[Json]
    effects: Sequence[str]
    """Its own lines of all effect logs, by their time."""
    world: Path
    cancelled_seq: int | None = None
    """The newest event when its cancellation had been acknowledged."""

    @cached_property
    def lines(self) -> list[Line]:
        found = []
        for text in self.effects:
            at, _, rest = text.partition(" ")
            _, word, action = rest.split(":")
            found.append(Line(float(at), word, action))
        return found

    @cached_property
    def counts(self) -> Counter[tuple[str, str]]:
        return Counter((line.word, line.action) for line in self.lines)

    def first(self, word: str, action: str) -> float | None:
        return next((line.at for line in self.lines if (line.word, line.action) == (word, action)), None)


def by_number(lines: Sequence[str]) -> dict[int, list[str]]:
    """Lines of effect logs by the number of the strategy that they belong to."""
    found: dict[int, list[str]] = defaultdict(list)
    for line in lines:
        found[int(line.split()[1].partition(":")[0])].append(line)
    return found


def judge(seen: Seen) -> list[str]:
    """What is wrong with how it ended; empty when every invariant holds."""
    told = seen.report
    if told["status"] not in ("completed", "failed", "cancelled") or (told["status"] != "cancelled" and
                                                                      not told["actions"]):  # fmt: skip
        return [f"1: {told['execution_id']} is {told['status']}: {told['error']}"]
    rules = (_once, _settled_once, _nothing_lost, _order, _no_overlap, _nothing_after_cancel, _events)
    return [f"{told['execution_id']}: {problem}" for rule in rules for problem in rule(seen)]


def _once(seen: Seen) -> Iterator[str]:
    for made in actions_of(seen.document):
        name = made["id"]
        did, undid = seen.counts["do", name], seen.counts["undo", name]
        if did > 1 and not made.get("idempotent"):
            yield f"3: {name} was done {did} times"
        if undid > 1:
            yield f"5: {name} was taken back {undid} times"


def _settled_once(seen: Seen) -> Iterator[str]:
    ended: Counter[str] = Counter()
    for event in seen.events:
        name = event["event"]
        if not name.startswith("execution:action:"):
            continue
        action = event["data"]["action"]
        if name.rpartition(":")[2] in _ENDS:
            ended[action] += 1
        elif name.endswith(":started") and ended[action]:
            yield f"4: {action} began after it had ended"
    yield from (f"4: {action} ended {count} times" for action, count in ended.items() if count > 1)
    for made in actions_of(seen.document):
        told = seen.report["actions"].get(made["id"], {})
        own = [line.word for line in seen.lines if line.action == made["id"] and line.word in ("do", "end")]
        if told.get("status") == "succeeded" and is_logged(made) and "end" not in own:
            became = "broken off" if own else "never begun"
            yield f"4: {made['id']} is said to have succeeded, and its effect was {became}"


def _nothing_lost(seen: Seen) -> Iterator[str]:
    report = seen.report
    left = {entry["action"] for entry in report["rollback"]["remaining"]}
    taken_back = {entry["action"] for entry in report["rollback"]["compensated"]}
    for made in actions_of(seen.document):
        name, told = made["id"], report["actions"].get(made["id"])
        if not is_logged(made) and made["uses"] != "file.create":
            continue
        if is_logged(made):
            there = bool(seen.counts["do", name])
            gone = bool(seen.counts["undo", name])
        else:
            there = file_of(seen.world, number_of(seen.document), made).exists()
            gone = not there
        if told is None:
            if there:
                yield f"7: {name} was done, and the report does not know it"
            continue
        if report["status"] == "completed":
            if told["status"] == "succeeded" and not there:
                yield f"7: {name} is said to be done, and is not there"
            if is_logged(made) and gone:
                yield f"5: {name} was taken back though all went well"
            continue
        # one that fails by itself owes nothing, unless its compensation says so
        own_failure = told["status"] == "failed" and (told["error"] or {}).get("type") == "ActionError"
        if there and not gone and name not in left and not own_failure:
            yield f"7: {name} was done, is {told['status']}, and was neither taken back nor listed"
        if name in taken_back and not gone:
            yield f"7: {name} is said to be taken back, and is not"
        if name in taken_back & left:
            yield f"7: {name} is both taken back and left"


def _order(seen: Seen) -> Iterator[str]:
    rank = ranks(seen.document)
    undone = [(line.at, line.action) for line in seen.lines if line.word == "undo"]
    for n, (at, later) in enumerate(undone):
        for before, earlier in undone[:n]:
            if rank[earlier] < rank[later] and at - before > _TICK_S:
                yield f"5: {earlier} was taken back before {later}, which came after it"
    for made in actions_of(seen.document):
        began = seen.first("do", made["id"])
        for other in actions_of(seen.document):
            ended = seen.first("end", other["id"])
            if rank[other["id"]] < rank[made["id"]] and began is not None and ended and ended - began > _TICK_S:
                yield f"5: {made['id']} began before {other['id']} had ended"


def _no_overlap(seen: Seen) -> Iterator[str]:
    back = [line.at for line in seen.lines if line.word == "undo"]
    for line in seen.lines if back else ():
        if line.word in ("do", "end") and line.at - back[0] > _TICK_S:
            yield f"6: {line.word} of {line.action} came {line.at - back[0]:.2f} s after the rollback had begun"
    planned = False
    for event in seen.events:
        planned = planned or event["event"] == "rollback:started"
        if planned and event["event"] == "execution:action:started":
            yield f"6: {event['data']['action']} began after the rollback had"


def _nothing_after_cancel(seen: Seen) -> Iterator[str]:
    for event in seen.events:
        late = seen.cancelled_seq is not None and event["seq"] > seen.cancelled_seq
        if late and event["event"] == "execution:action:started":
            yield f"12: {event['data']['action']} began after the cancellation was acknowledged"


def _events(seen: Seen) -> Iterator[str]:
    numbers = [event["seq"] for event in seen.events]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"13: events have gaps: {numbers}"
    reached: dict[tuple[str, int], float] = {}
    tries: Counter[str] = Counter()
    for event in seen.events:
        data = event["data"]
        if event["event"].endswith(":started") and "action" in data:
            tries[data["action"]] += 1
        elif event["event"].endswith(":progress"):
            key = (data["action"], tries[data["action"]])
            if data["fraction"] < reached.get(key, 0.0):
                yield f"13: the progress of {data['action']} fell to {data['fraction']}"
            reached[key] = data["fraction"]

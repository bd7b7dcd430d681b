"""Judges how a drawn case ended by its effect log and its files: invariants 1 to 7 of the design.

Pure, and independent of the code that it judges: what should have been taken back comes from `property_table`.
"""

from collections import Counter
from collections.abc import Iterator

from support.property_cases import FILES, Act
from support.property_end import files, report_agrees, rollback_agrees, world
from support.property_evidence import Evidence, Go
from support.property_table import FORWARD, worked
from support.property_way_back import order, overlap, taken_back

__all__ = ["Evidence", "Go", "judge"]

_ENDS = ("completed", "failed", "cancelled", "rolled_back")


def judge(seen: Evidence) -> list[str]:
    """What is wrong, by invariant; empty when nothing is."""
    if not seen.ended or seen.report["status"] not in _ENDS:
        return [f"1, 2: it was accepted, and is {seen.report['status']}: {seen.report['error']}"]
    if not seen.report["actions"]:
        planned = seen.report["status"] != "cancelled" or seen.log
        return ["1: it ended, and nothing is said of its actions"] if planned else []
    rules = (
        _bound, _forward, _effects_once, _settled_once, taken_back, order, overlap, world, files, report_agrees,
        rollback_agrees,
    )  # fmt: skip
    return list(dict.fromkeys(problem for rule in rules for problem in rule(seen)))


def _bound(seen: Evidence) -> Iterator[str]:
    """2: 15 s and the longest timeout after the last fault, and what the work itself takes on a busy machine."""
    most = 15 + 10 + 2 * len(seen.case.acts)
    if seen.ended_s > most:
        yield f"2: it ended {seen.ended_s:.1f} s after the last fault, and {most} s are the bound"


def _forward(seen: Evidence) -> Iterator[str]:
    """1, 7: each action ended as it was told to."""
    for act in seen.case.acts:
        told = seen.told(act)
        status = told["status"]
        if status == "succeeded":
            good = act.fallback is not None and act.fallback.does == "works" if told["degraded"] else (
                worked(act, told["attempts"]) and not act.unmet)  # fmt: skip
            if not good and not (seen.faulty and act.fallback):
                yield f"7: {act.name} is said to have succeeded, and was told to fail"
            part = act.name + ".fb" * bool(told["degraded"])
            if (told["degraded"] or act.kind not in FILES) and not seen.count("do", part):
                yield f"7: {part} is said to have succeeded, and was never done"
            if _unmet_need(seen, act) or not _when(seen, act):
                yield f"7: {act.name} ran, and should have been skipped"
        elif status in ("failed", "timed_out"):
            if worked(act, told["attempts"]) and not act.unmet and not seen.faulty:
                yield f"7: {act.name} {status}, and was told to work: {told['error']}"
        elif status == "skipped" and _when(seen, act) and not _unmet_need(seen, act):
            yield f"7: {act.name} was skipped for no reason"
        if status in ("skipped", "pending") and any(seen.count(word, act.name) for word in FORWARD):
            yield f"7: {act.name} was done, and is said to be {status}"
        if told["attempts"] > act.attempts:
            yield f"3: {act.name} has {told['attempts']} attempts, and {act.attempts} were allowed"


def _when(seen: Evidence, act: Act) -> bool:
    if isinstance(act.when, str):
        return bool(seen.report["actions"][act.when]["status"] == "succeeded")
    return act.when is None


def _unmet_need(seen: Evidence, act: Act) -> bool:
    return any(seen.report["actions"][need]["status"] not in ("succeeded", "skipped") for need in act.needs)


def _effects_once(seen: Evidence) -> Iterator[str]:
    """3: one attempt has one effect, unless it may be repeated and its worker died."""
    may_repeat = {act.name for act in seen.case.acts if act.idempotent and seen.faulty}
    for (word, part, attempt, go), count in Counter((o.word, o.part, o.attempt, o.go) for o in seen.log).items():
        if count > 1 and not (part in may_repeat and word in FORWARD):
            yield f"3: {word} of {part}, attempt {attempt}, happened {count} times (rollback {go})"
    for part in seen.parts:
        if (undone := seen.count("undo", part.name)) > 1:
            yield f"5: {part.name} was taken back {undone} times"


def _settled_once(seen: Evidence) -> Iterator[str]:
    """4: an action ends once, and not while who holds it still runs."""
    ends: Counter[str] = Counter()
    for event in seen.events:
        name = event["event"]
        if name.startswith("execution:action:") and (action := event["data"].get("action")):
            if name.rpartition(":")[2] in ("completed", "failed", "skipped", "cancelled"):
                ends[action] += 1
            elif name.endswith(":started") and ends[action]:
                yield f"4: {action} began after it had ended"
    yield from (f"4: {action} ended {count} times" for action, count in ends.items() if count > 1)
    for act in seen.case.acts:
        told = seen.told(act)
        own = [line.word for line in seen.log if line.part == act.name and line.word in ("do", "end")]
        if (
            act.nap
            and act.kind == "command"
            and told["status"] == "succeeded"
            and not told["degraded"]
            and own[-1:] == ["do"]
        ):
            yield f"4: {act.name} succeeded by an answer of somebody whose attempt it was no longer"

"""Judges what was taken back: invariants 5 and 6."""

from collections.abc import Iterator

from support.property_cases import FILES
from support.property_evidence import Evidence
from support.property_table import BACK, FORWARD, Part


def taken_back(seen: Evidence) -> Iterator[str]:
    """5: what is taken back is what the table says, once each; what may not be known is undone or listed."""
    for act in seen.case.acts:
        parts = [part for part in seen.parts if part.act is act and act.kind not in FILES]
        must = any(_must_be_listed(seen, part) for part in parts)
        may = must or any(_may_be_listed(seen, part) for part in parts)
        if act.name in seen.listed and parts and not may:
            yield f"5: {act.name} is listed, and nothing of it is left: {[sorted(part.known) for part in parts]}"
        if must and act.name not in seen.listed:
            yield f"5: {act.name} was neither taken back nor listed: {[sorted(part.known) for part in parts]}"
        for part in parts:
            undone = seen.count("undo", part.name)
            if undone and (not seen.wanted(act) or "undo" not in part.due):
                yield f"5: {part.name} was taken back, and should not be: {sorted(part.known)}, {part.way}"
        undone_parts = {part.name for part in parts if seen.count("undo", part.name)}
        if parts and bool(undone_parts) != (act.name in seen.compensated) and not seen.faulty:
            yield f"5: {act.name} has {len(undone_parts)} undos, and the report says {sorted(seen.compensated)}"


def _must_be_listed(seen: Evidence, part: Part) -> bool:
    if not seen.wanted(part.act) or seen.count("undo", part.name):
        return False
    if part.way.rule == "lacking" and part.act.device in seen.restored:
        return False
    return "no" not in part.due


def _may_be_listed(seen: Evidence, part: Part) -> bool:
    if not seen.wanted(part.act) or part.due == {"no"}:
        return False
    if "listed" in part.due:
        return part.way.rule != "lacking" or part.act.device not in seen.restored
    if seen.count("undo", part.name):  # it says that it was taken back: only its own end can be in doubt
        return seen.faulty
    later = any(not go.refused for go in seen.goes) and seen.rollbacks > 1
    stubborn = part.way.does in ("fails", "hangs") or (part.way.does == "later" and not later)
    return stubborn or seen.faulty or (seen.halted and seen.report["rollback"]["mechanism"] == "phased")


def order(seen: Evidence) -> Iterator[str]:
    """5: dependants first; of one action its fallback first."""
    rank = seen.case.rank()
    for go in {line.go for line in seen.log}:
        lines = [line for line in seen.log if line.go == go and line.word in BACK]
        for n, line in enumerate(lines):
            owner = line.part.removesuffix(".fb")
            for earlier in lines[:n]:
                other = earlier.part.removesuffix(".fb")
                if rank[other] < rank[owner]:
                    yield f"5: {earlier.part} was taken back before {line.part}, which came after it"
                elif other == owner and earlier.part == owner and line.part != owner:
                    yield f"5: {earlier.part} was taken back before its fallback"


def overlap(seen: Evidence) -> Iterator[str]:
    """6: nothing is done any more once taking back has begun."""
    back = [line.at for line in seen.log if line.word in BACK]
    if back:
        late = [line for line in seen.log if line.word in FORWARD and line.at > back[0]]
        yield from (f"6: {line.word} of {line.part} came after the rollback had begun" for line in late)
    planned = False
    for event in seen.events:
        planned = planned or event["event"] == "rollback:started"
        if planned and event["event"] == "execution:action:started":
            yield f"6: {event['data']['action']} began after the rollback had"

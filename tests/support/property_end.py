"""Judges the end: the files, and what the report says of it all: invariant 7."""

from collections.abc import Iterator, Sequence

from support.property_cases import FILES, Act
from support.property_evidence import Evidence
from support.property_table import Part


def world(seen: Evidence) -> Iterator[str]:
    """7: a mark is there exactly where an effect is left."""
    for part in seen.parts:
        if (part.act.kind in FILES and part.name == part.act.name) or part.act.device in seen.restored:
            continue
        mark = f"{part.act.device}/made-{part.name}" in seen.after
        done, undone = seen.count("do", part.name), seen.count("undo", part.name)
        doubtful = bool({"unknown"} & part.known) or (undone and part.act.name in seen.listed)
        wanted = bool(done) and (not undone or part.way.does == "lies")
        if mark != wanted and not doubtful:
            yield f"7: {part.name} was done {done} times and undone {undone} times, and its mark is {mark}"
    for device in seen.restored:
        for path in {*seen.before, *seen.after}:
            if path.startswith(f"{device}/") and seen.before.get(path) != seen.after.get(path):
                yield f"7: {path} is not as it was, and {device} was restored"


def files(seen: Evidence) -> Iterator[str]:
    """5, 7: each file is as before, but for the changes that are listed, kept, or not to be taken back."""
    by_path: dict[str, list[Part]] = {}
    rank = seen.case.rank()
    for part in sorted(seen.parts, key=lambda one: rank[one.act.name]):
        if part.act.kind in FILES and part.name == part.act.name and part.act.device not in seen.restored:
            by_path.setdefault(f"{part.act.device}/{seen.case.target(part.act)}", []).append(part)
    for path, parts in by_path.items():
        left: list[Part] = []
        for number, part in enumerate(parts):
            name = part.act.name
            stays = _stays(seen, part)
            above = any(_stays(seen, later) for later in parts[number + 1 :])
            if stays and seen.wanted(part.act) and part.due == {"undo"} and name not in seen.listed:
                yield f"5: {name} was neither taken back nor listed"
            if name in seen.listed and not above and not seen.faulty and not seen.halted:
                yield f"5: {name} is listed, and nobody changed {path} since"
            if name in seen.compensated and (not seen.wanted(part.act) or part.due == {"no"}):
                yield f"5: {name} was taken back, and should not be"
            if stays:
                left.append(part)
        possible = [_content(seen.before.get(path), left)]
        possible += [_content(seen.before.get(path), [one for one in left if "none" not in one.known])]
        now = seen.after.get(path)
        if (now and now[1]) not in possible:
            yield f"7: {path} holds {now and now[1]!r}, and {possible} was expected: left are {[p.name for p in left]}"
        elif not left and now != seen.before.get(path):
            yield f"7: mode or time of {path} is not as it was: {now} {seen.before.get(path)}"


def _stays(seen: Evidence, part: Part) -> bool:
    """Whether its change is there at the end, as the log of the rollback says."""
    return part.known not in ({"none"}, {"failed", "none"}, {"failed"}) and part.act.name not in seen.compensated


def _content(before: tuple[str, bytes, int] | None, left: Sequence[Part]) -> bytes | None:
    content = before and before[1]
    for part in left:
        text = f"{part.act.name}\n".encode()
        content = {"create": text, "delete": None, "edit": (content or b"") + text}[part.act.kind]
    return content


def report_agrees(seen: Evidence) -> Iterator[str]:
    """7: the status says what happened; events have no gaps."""
    case, report = seen.case, seen.report
    numbers = [event["seq"] for event in seen.events]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"13: events have gaps: {numbers}"
    fatal = _fatal(seen)
    status = report["status"]
    unmet = case.criterion is False or case.unmet_phase is not None
    if status in ("completed", "rolled_back"):
        borne = [act for act in case.acts if seen.told(act)["status"] in ("failed", "timed_out")]
        if fatal or unmet or any(seen.told(act)["status"] in ("cancelled", "pending") for act in case.acts):
            yield f"7: it is said to be {status}: {[act.name for act in fatal]} failed, criteria met: {not unmet}"
        if status == "completed" and seen.compensated | seen.listed:
            yield f"7: it completed, and {seen.compensated} was taken back, {seen.listed} is left"
        degraded = bool(borne) or any(seen.told(act)["degraded"] for act in case.acts)
        if status == "completed" and report["degraded"] != degraded:
            yield f"7: degraded is {report['degraded']}"
    elif status == "failed" and not fatal and not unmet:
        yield f"7: it failed without a reason: {report['error']}"
    elif status == "cancelled" and not seen.cancelled:
        yield "7: it was cancelled by nobody"
    if report["success"] != (status == "completed"):
        yield f"7: success is {report['success']}, and it is {status}"


def _fatal(seen: Evidence) -> list[Act]:
    """Failures that end an execution: those that are not to be borne, or all where they are too many."""
    ended = [act for act in seen.case.acts if seen.told(act)["status"] in ("failed", "timed_out")]
    borne = [act for act in ended if act.on_failure == "continue"]
    most = seen.case.max_failures
    return ended if most is not None and len(borne) > most else [act for act in ended if act not in borne]


def rollback_agrees(seen: Evidence) -> Iterator[str]:
    """5, 7: it was rolled back exactly where that was called for, and says how it went."""
    said, later = seen.report["rollback"], [go for go in seen.goes if not go.refused]
    called = _called_for(seen)
    first = seen.rollbacks - len(later)
    if called is not None and first != (called and seen.case.mechanism != "none"):
        yield f"5: {first} rollbacks began by themselves, and one was called for: {called}"
    if seen.goes and not later and not seen.goes[0].retry and any(_open(seen, part) for part in seen.parts):
        yield f"7: it was not taken back later: {seen.goes[0].refused}"
    if seen.rollbacks:
        probes = {name for name in seen.listed if name.startswith("verify/")}
        if seen.case.verify and not seen.faulty and bool(probes) != _lied(seen):
            yield f"7: a compensation lied: {_lied(seen)}, and the probes say {probes}"
        wanted = "failed" if probes else "partial" if seen.listed else "completed"
    else:
        wanted = "disabled" if seen.case.mechanism == "none" and called else "not_needed"
    if said["status"] != wanted and not (called is None and not seen.rollbacks):
        yield f"7: the rollback is said to be {said['status']}, and is {wanted}"


def _open(seen: Evidence, part: Part) -> bool:
    named = seen.case.mechanism != "partial" or part.act.name in seen.case.named
    return named and part.due == {"undo"} and part.name not in seen.compensated


def _lied(seen: Evidence) -> bool:
    return any(
        seen.count("undo", part.name) and f"{part.act.device}/made-{part.name}" in seen.after for part in seen.parts
    )


def _called_for(seen: Evidence) -> bool | None:
    """Whether its end asks for a rollback; None: it cannot be told from outside."""
    status = seen.report["status"]
    if status in ("completed", "rolled_back"):
        return False
    if status == "cancelled":
        return seen.case.cancel_undoes and any(event["event"] == "execution:started" for event in seen.events)
    fatal = _fatal(seen)
    asking = [act for act in fatal if act.on_failure != "stop"]
    if not fatal:
        return True
    # one that would have been tried again, had it not been stopped, has not failed for good
    for_good = [act for act in asking if seen.told(act)["attempts"] >= act.attempts or act.kind in FILES]
    borne = sum(act.on_failure == "continue" for act in for_good)
    if borne < len(for_good) or borne > (seen.case.max_failures or 0):
        return True
    return None if asking else False

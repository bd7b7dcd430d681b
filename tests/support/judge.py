"""Judges how a drawn case ended by its effect log and its files: invariants 1 to 7 of the design.

Pure, and independent of the code that it judges: what should have been taken back comes from `property_table`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from support.property_cases import FILES, Act, Case
from support.property_documents import World
from support.property_table import BACK, FORWARD, Line, Part, parsed, parts_of, worked

Json = dict[str, Any]

_ENDS = ("completed", "failed", "cancelled", "rolled_back")


@dataclass(frozen=True)
class Go:
    """A rollback that was asked for later."""

    retry: bool
    refused: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that is known of one case that has ended."""

    case: Case
    report: Json
    lines: Sequence[str]
    before: World
    after: World
    events: Sequence[Json]
    ended: bool = True
    faulty: bool = False
    """Whether a process was killed or frozen meanwhile."""
    cancelled: bool = False
    goes: tuple[Go, ...] = ()

    @cached_property
    def log(self) -> list[Line]:
        return parsed(self.lines)

    @cached_property
    def parts(self) -> list[Part]:
        return parts_of(self.case, self.report, self.log, self.events)

    @cached_property
    def listed(self) -> set[str]:
        return {row["action"] for row in self.report["rollback"]["remaining"]}

    @cached_property
    def compensated(self) -> set[str]:
        return {row["action"] for row in self.report["rollback"]["compensated"]}

    @cached_property
    def restored(self) -> set[str]:
        """Devices whose directory was restored from its snapshot."""
        names = {row["action"] for row in self.report["rollback"].get("restored", ())}
        return {device for n, device in enumerate(self.case.snapshot, 1) if f"snapshot/{n}" in names}

    @cached_property
    def rollbacks(self) -> int:
        return sum(event["event"] == "rollback:started" for event in self.events)

    def told(self, act: Act) -> Json:
        return dict(self.report["actions"][act.name])

    def count(self, word: str, part: str) -> int:
        return sum(line.word == word and line.part == part for line in self.log)

    def wanted(self, act: Act) -> bool:
        """Whether it is among what a rollback that took place takes back."""
        return self.rollbacks > 0 and (self.case.mechanism != "partial" or act.name in self.case.named)

    @property
    def halted(self) -> bool:
        """A probe did not hold between two phases, and the rollback stopped there."""
        return any(name.startswith("verify/") for name in self.listed)


def judge(seen: Evidence) -> list[str]:
    """What is wrong, by invariant; empty when nothing is."""
    if not seen.ended or seen.report["status"] not in _ENDS:
        return [f"1, 2: it was accepted, and is {seen.report['status']}: {seen.report['error']}"]
    if not seen.report["actions"]:
        planned = seen.report["status"] != "cancelled" or seen.log
        return ["1: it ended, and nothing is said of its actions"] if planned else []
    rules = (_forward, _effects_once, _settled_once, _taken_back, _order, _overlap, _world, _files, _report, _rollback)
    return [f"{problem}" for rule in rules for problem in rule(seen)]


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


def _taken_back(seen: Evidence) -> Iterator[str]:
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


def _order(seen: Evidence) -> Iterator[str]:
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


def _overlap(seen: Evidence) -> Iterator[str]:
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


def _world(seen: Evidence) -> Iterator[str]:
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


def _files(seen: Evidence) -> Iterator[str]:
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


def _report(seen: Evidence) -> Iterator[str]:
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
    ended = [act for act in seen.case.acts if seen.told(act)["status"] in ("failed", "timed_out")]
    return [act for act in ended if act.on_failure != "continue"]


def _rollback(seen: Evidence) -> Iterator[str]:
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
        return any(event["event"] == "execution:started" for event in seen.events)
    fatal = _fatal(seen)
    asking = [act for act in fatal if act.on_failure == "rollback"]
    if not fatal:
        return True
    # one that would have been tried again, had it not been stopped, has not failed for good
    tried_out = [act for act in asking if seen.told(act)["attempts"] >= act.attempts or act.kind in FILES]
    if asking and not tried_out:
        return None
    return bool(asking)

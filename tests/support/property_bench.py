"""Runs drawn cases on a real cluster, several at once, and gives each one's evidence to the judge."""

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from executor import NotAllowedNow
from executor.ledger.valkey import ValkeyLedger
from support.cluster import Cluster
from support.judge import Evidence, Go, judge
from support.property_bugs import path_of_workers
from support.property_cases import Case, Fault
from support.property_documents import World, as_yaml, document, lay_out, world
from support.property_faults import Befallen, Victims
from support.storm import autopsy

_ENDED = {f"execution:{name}" for name in ("completed", "failed", "cancelled", "refused", "rolled_back")}
_ACTION_ENDED = {f"execution:action:{name}" for name in ("completed", "failed", "skipped")}
_PATIENCE_S = 60.0


@dataclass
class _Running:
    """One case on its way."""

    case: Case
    root: Path
    name: str
    before: World
    execution: str = ""
    seen: Counter[str] = field(default_factory=Counter)
    goes: list[Go] = field(default_factory=list)
    asked: bool = False
    cancelled: bool = False
    ended: bool = False
    reports: list[dict[str, Any]] = field(default_factory=list)
    ended_s: float = 0.0


@dataclass
class Counts:
    """What was run, for people."""

    cases: int = 0
    actions: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    mechanisms: Counter[str] = field(default_factory=Counter)
    rollbacks: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    later: int = 0
    longest_s: float = 0.0

    def __str__(self) -> str:
        def told(counter: Counter[str]) -> str:
            return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"

        return (
            f"{self.cases} cases, {self.actions} actions; ended {told(self.ended)}; rollbacks {told(self.rollbacks)}; "
            f"mechanisms {told(self.mechanisms)}; {self.later} later goes; faults {told(self.faults)}; "
            f"longest end after the last fault {self.longest_s:.1f} s"
        )


class Bench:
    """A coordinator and two workers for three devices, and the directories of the cases."""

    def __init__(self, folder: Path, program: Sequence[str] = (), **environment: str) -> None:
        self.folder = folder
        self.counts = Counts()
        settings = {"PYTHONPATH": path_of_workers(), "REX_EXECUTION__RETRY_DELAY": "20ms", **environment}
        self.cluster = Cluster(folder, program=program, **settings)
        self.victims = Victims(self.cluster)
        for name in ("control", "edge", "rest"):
            self.victims.start(name)
        self.cluster.ready()
        self._number = 0
        self._stream = self.cluster.server.client()
        self._last = "$"

    def close(self) -> None:
        self._stream.close()
        self.cluster.close()

    # -- one batch ----------------------------------------------------------------------------------------------------

    def wrong(self, cases: Sequence[Case], fault: Fault | None) -> str:
        """Run them side by side; what is wrong with any of them, with all that is needed to see why; or nothing."""
        running = [self._begun(case) for case in cases]
        befallen = self._follow(running, fault)
        if befallen is not None:
            self.counts.faults[f"{befallen.fault.kind} {befallen.fault.victim}" if befallen.hit else "too late"] += 1
        elif fault is not None:
            self.counts.faults["too late"] += 1
        faulty = befallen is not None and befallen.hit
        told = [self._judged(one, faulty, befallen) for one in running]
        for one, problem in zip(running, told, strict=True):
            if not problem:
                shutil.rmtree(one.root)
        return "\n".join(problem for problem in told if problem)

    def _begun(self, case: Case) -> _Running:
        self._number += 1
        root = self.folder / "cases" / str(self._number)
        lay_out(case, root)
        return _Running(case, root, f"drawn-{self._number}", world(root))

    def _follow(self, running: list[_Running], fault: Fault | None) -> Befallen | None:
        """Submit, and act on events until all have ended and the cluster is whole."""
        self._last = self._newest()
        for one in running:
            one.execution = self.cluster.client.submit(document(one.case, one.root, one.name))
            self._cancel_when_due(one)
        by_id = {one.execution: one for one in running}
        befallen: Befallen | None = None
        began = time.monotonic()
        at_most = began + 3 * _PATIENCE_S
        while not all(one.ended for one in running) or (befallen and not befallen.healed):
            for execution, event in self._events():
                one = by_id.get(execution)
                if one is None:
                    continue
                one.seen[event] += 1
                if fault and befallen is None and sum(each.seen[fault.event] for each in running) == fault.count:
                    befallen, began = self.victims.begin(fault), time.monotonic()
                self._react(one, event, began)
            if befallen and not befallen.healed:
                befallen.over = all(one.ended for one in running)
                began = time.monotonic()
            if time.monotonic() > min(began + _PATIENCE_S, at_most):
                return befallen
        return befallen

    def _newest(self) -> str:
        newest: Any = self._stream.xrevrange("rex:{0}:events", count=1)
        return newest[0][0] if newest else "0-0"

    def _events(self) -> list[tuple[str, str]]:
        try:
            found: Any = self._stream.xread({"rex:{0}:events": self._last}, block=50, count=500)
        except (redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError):
            return []
        entries = found[0][1] if found else []
        if entries:
            self._last = entries[-1][0]
        return [(fields["x"], fields["n"]) for _, fields in entries]

    def _react(self, one: _Running, event: str, began: float) -> None:
        if event in _ACTION_ENDED:
            self._cancel_when_due(one)
        if event in _ENDED and self._is_over(one):
            one.ended = True
            one.ended_s = time.monotonic() - began

    def _cancel_when_due(self, one: _Running) -> None:
        wanted = one.case.cancel_after
        if wanted is None or one.asked or sum(one.seen[name] for name in _ACTION_ENDED) < wanted:
            return
        one.asked = True
        try:
            self.cluster.client.cancel(one.execution, reason="drawn", undo=one.case.cancel_undoes)
            one.cancelled = True
        except NotAllowedNow:
            pass

    def _is_over(self, one: _Running) -> bool:
        """False where it is taken back now that it has ended."""
        report = self.cluster.client.status(one.execution)
        one.reports.append(report)
        if not one.case.later or one.goes or not report["actions"]:
            return True
        retry = report["rollback"]["status"] in ("completed", "partial", "failed")
        with (one.root / "log").open("a") as log:
            log.write(f"go {len(one.goes) + 1}\n")
        refused = ""
        try:
            self.cluster.client.rollback(one.execution, retry=retry, by="somebody", timeout_s=_PATIENCE_S)
        except NotAllowedNow as error:
            refused = str(error)
        one.goes.append(Go(retry, refused))
        return bool(refused)

    # -- the verdict --------------------------------------------------------------------------------------------------

    def _judged(self, one: _Running, faulty: bool, befallen: Befallen | None) -> str:
        report = self.cluster.client.status(one.execution)
        self._count(one, report)
        ledger = ValkeyLedger(self.cluster.server.url)
        evidence = Evidence(
            case=one.case, report=report, lines=(one.root / "log").read_text().splitlines(), before=one.before,
            after=world(one.root), events=list(self.cluster.client.events(one.execution, follow=False)),
            ended=one.ended, ended_s=one.ended_s, faulty=faulty, cancelled=one.cancelled, goes=tuple(one.goes),
        )  # fmt: skip
        problems = judge(evidence)
        if not problems:
            return ""
        fault = befallen.told if befallen else "no fault"
        lines = "\n".join(evidence.lines)
        actions = "\n".join(f"  {name}: {_short(told)}" for name, told in report["actions"].items())
        return "\n".join(
            [
                f"=== {one.name}, {one.execution}, {report['status']}, {fault}, goes {one.goes}", *problems, "",
                as_yaml(one.case, one.root, one.name), "effect log:", lines, "events:", _told(evidence.events),
                "actions:", actions, f"rollback: {report['rollback']}",
                "" if one.ended else autopsy(ledger, [one.execution]),
            ]
        )  # fmt: skip

    def _count(self, one: _Running, report: dict[str, Any]) -> None:
        counts = self.counts
        counts.cases += 1
        counts.actions += len(one.case.acts)
        counts.ended[report["status"]] += 1
        counts.rollbacks[report["rollback"]["status"]] += 1
        counts.mechanisms[report["rollback"]["mechanism"] or "-"] += 1
        counts.later += sum(not go.refused for go in one.goes)
        counts.longest_s = max(counts.longest_s, one.ended_s)


def _short(told: dict[str, Any]) -> str:
    error = (told["error"] or {}).get("message", "")
    return (
        f"{told['status']}, undo {told['undo']}, attempts {told['attempts']}, degraded {told['degraded']} {error[:200]}"
    )


def _told(events: Sequence[dict[str, Any]]) -> str:
    return "\n".join(f"  {event['seq']} {event['event']} {str(event['data'])[:160]}" for event in events)

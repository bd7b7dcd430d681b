"""One fault over executions in flight on a fleet, healed after a while, and the judgement of what came of it."""

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.fleet import Fleet
from support.fleet_judge import Seen, by_number, judge
from support.shapes import TIMEOUT_S, Draw, actions_of, number_of
from support.storm import autopsy
from support.waiting import wait_until

Json = dict[str, Any]
SEEDS = 4
"""How many seeds are tried until a fault hits work in flight."""
GRACE_S = 15.0


class Void(AssertionError):
    """No fault hit work in flight, with any of the seeds."""


@dataclass(frozen=True)
class Fault:
    """What befalls the fleet."""

    begin: Callable[[Fleet], None]
    lasts_s: float
    end: Callable[[Fleet], None]
    hosts: Sequence[str] = ()
    """Where it must hit work; none: anywhere."""


@dataclass
class Outcome:
    """What came of it."""

    wrong: list[str] = field(default_factory=list)
    reports: list[Json] = field(default_factory=list)
    ended_s: float = 0.0
    """After the fault was over."""


_numbers = iter(range(1, 1_000_000))


def seed() -> int:
    """The one that ``REX_CHAOS_SEED`` asks for, or a new one; printed, to be repeated."""
    found = int(os.environ.get("REX_CHAOS_SEED", random.SystemRandom().randrange(2**32)))
    sys.stdout.write(f"seed {found}\n")
    return found


def long_run() -> bool:
    """Whether all cases are asked for (`make chaos`), and not only those of `make test`."""
    return bool(os.environ.get("REX_CHAOS"))


def cases(every: Iterable[Any], *often: Any) -> list[Any]:
    """Parameters of a test: all of them in `make chaos`, and only `often` in `make test`."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=() if case in often else pytest.mark.long)
        for case in every
    ]


def endure(
    fleet: Fleet,
    draw: Draw,
    moment: str,
    fault: Fault,
    *,
    count: int = 4,
    after: int = 5,
    also: Callable[[Json], list[str]] = lambda report: [],
) -> Outcome:
    """Let `fault` befall `count` executions while they are at `moment`.

    A run in which it hit nothing is void, and repeated with the next seed.

    Args:
        fleet: where; it must be whole.
        draw: makes their strategies.
        moment: ``forward``, ``rollback`` or ``snapshot``.
        fault: what befalls it.
        count: how many run side by side.
        after: how many are to succeed after it.
        also: more that may be wrong with a report.

    Raises:
        Void: it never hit.
        AssertionError: an invariant is broken; says which, the seed, and all that is needed to see why.
    """
    first = seed()
    for number in range(first, first + SEEDS):
        chance = random.Random(number)
        documents = [draw(chance, next(_numbers)) for _ in range(count)]
        executions = {fleet.client.submit(document): document for document in documents}
        hit = _befall(fleet, fault, executions, moment)
        outcome = settle(fleet, executions, seed=number)
        outcome.wrong += [problem for report in outcome.reports for problem in also(report)]
        healthy_after(fleet, after)
        assert not outcome.wrong, _told(fleet, number, executions, outcome)
        if hit:
            return outcome
    raise Void(f"seeds {first} to {first + SEEDS - 1}: the fault hit no work in flight")


def _befall(fleet: Fleet, fault: Fault, executions: dict[str, Json], moment: str) -> bool:
    """Whether it hit."""
    wait_until(
        lambda: working(fleet, executions, moment, fault.hosts) or all_ended(fleet, executions),
        description=f"work is in flight, {moment}, at {fault.hosts or 'any host'}", timeout_s=60, told=fleet.logs,
    )  # fmt: skip
    fault.begin(fleet)
    hit = working(fleet, executions, moment, fault.hosts)
    try:
        threading.Event().wait(fault.lasts_s)  # how long it lasts is what the case is about
    finally:
        fault.end(fleet)
    return hit


def settle(fleet: Fleet, executions: dict[str, Json], *, seed: int, cancelled: dict[str, int] | None = None) -> Outcome:
    """Wait within the bound of invariant 2 for their ends, and judge each of them."""
    began = time.monotonic()
    # the work that is still to be done takes its time on a busy machine too
    work_s = sum(0.5 * len(actions_of(document)) for document in executions.values())
    try:
        wait_until(lambda: all_ended(fleet, executions), description="2: all have ended",
                   timeout_s=GRACE_S + TIMEOUT_S + work_s)  # fmt: skip
    except AssertionError as error:
        found = autopsy(fleet.ledger, list(executions))
        raise AssertionError(f"seed {seed}: {error}\n{found}\n{fleet.logs()}") from None
    outcome = Outcome(ended_s=time.monotonic() - began)
    lines = by_number(fleet.lines())
    for execution, document in executions.items():
        seen = seen_of(fleet, execution, document, lines, (cancelled or {}).get(execution))
        outcome.reports.append(seen.report)
        outcome.wrong += judge(seen)
    outcome.wrong += nothing_held(fleet, executions)
    return outcome


def seen_of(
    fleet: Fleet, execution: str, document: Json, lines: dict[int, list[str]], cancelled_seq: int | None = None
) -> Seen:
    """All that is known of one that has ended."""
    report = fleet.client.status(execution)
    events = list(fleet.client.events(execution, follow=False))
    return Seen(document, report, events, lines.get(number_of(document), []), fleet.folder / "world", cancelled_seq)


def working(fleet: Fleet, executions: dict[str, Json], moment: str, hosts: Sequence[str]) -> bool:
    """Whether each of `hosts`, or any, is in the middle of something of that moment."""
    if moment == "snapshot":
        busy = _busy_saving(fleet, executions)
    else:
        words = ("do", "end") if moment == "forward" else ("undo", "undone")
        numbers = {str(number_of(document)) for document in executions.values()}
        busy = {host for host in fleet.devices if _opened(fleet.lines(host), numbers, *words)}
    return set(hosts) <= busy if hosts else bool(busy)


def _opened(lines: Sequence[str], numbers: set[str], begin: str, end: str) -> set[str]:
    """What was begun and has not ended."""
    opened: set[str] = set()
    for line in lines:
        number, word, action = line.split()[1].split(":")
        if number in numbers and word == begin:
            opened.add(f"{number}:{action}")
        elif word == end:
            opened.discard(f"{number}:{action}")
    return opened


def _busy_saving(fleet: Fleet, executions: dict[str, Json]) -> set[str]:
    busy = {}
    for event in (e for name in executions for e in fleet.client.events(name, follow=False)):
        action = event["data"].get("action", "")
        if action.startswith("snapshot/"):
            busy[action] = event["data"].get("device") if event["event"].endswith(":started") else None
    return {device for device in busy.values() if device}


def all_ended(fleet: Fleet, executions: Any) -> bool:
    return all("finished" in fleet.ledger.head(name) for name in executions)


def nothing_held(fleet: Fleet, executions: Iterable[str]) -> list[str]:
    """10: what these held returns to zero (slots, leases, parked messages); said when it does not within seconds."""
    ours = set(executions)
    server = fleet.redis()

    def left() -> list[str]:
        sets = (f"rex:{{0}}:{kind}:{name}" for kind in ("slots", "live", "wait") for name in ours)
        leases = {
            f"{key} {lease}"
            for key in server.scan_iter("rex:{0}:L:*", count=10_000)
            for lease in server.smembers(key)
            if str(lease).partition("|")[0] in ours
        }
        parked = {key for key in server.hkeys("rex:{0}:park") if any(name in str(key) for name in ours)}
        return [key for key in sets if server.exists(key)] + [str(key) for key in (*leases, *parked)]

    try:
        wait_until(lambda: not left(), description="nothing is held", timeout_s=15)
    except AssertionError:
        return [f"10: still held: {left()}"]
    finally:
        server.close()
    return []


def healthy_after(fleet: Fleet, count: int) -> None:
    """14: after the fault is over, new executions on all devices succeed."""
    waits = [{"id": f"w{n}", "uses": "wait", "with": {"for": "1ms"}, "device": d} for n, d in enumerate(fleet.devices)]
    names = [fleet.client.submit({"name": "after", "model": "parallel", "actions": waits}) for _ in range(count)]
    for name in names:
        report = fleet.client.result(name, timeout_s=60)
        assert report["status"] == "completed", f"14: {report}\n{fleet.logs()}"


def _told(fleet: Fleet, number: int, executions: dict[str, Json], outcome: Outcome) -> str:
    import json

    parts = [f"seed {number}:", *outcome.wrong]
    for execution, document in executions.items():
        if any(execution in problem for problem in outcome.wrong):
            report = next(told for told in outcome.reports if told["execution_id"] == execution)
            own = [line for line in fleet.lines() if line.split()[1].startswith(f"{number_of(document)}:")]
            events = [f"{e['seq']} {e['timestamp']} {e['event']} {str(e['data'])[:200]}"
                      for e in fleet.client.events(execution, follow=False)]  # fmt: skip
            parts += [json.dumps(document), json.dumps(report, indent=1), *own, *events]
    return "\n".join([*parts, fleet.logs()])

"""Many devices: what a queue for each costs, and a stage of 10,000 actions.

- Ten workers that serve ten devices beside ten that serve 500, fifty each: the same thousand actions, in turns.
- The leading watchdog with 500 live workers: its share of a core.
- 10,000 actions in one stage on those 500 devices, and the most memory that the coordinator had meanwhile.
"""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.cluster import Processes
from benchmarks.measure import Say
from benchmarks.watching import share_of_a_core
from config.queues import CONTROL, device_queue
from executor.client import ResolutionClient

WORKERS = 10
MANY = 500
WIDE = 10_000
_ACTIONS = 1000
_PATIENCE_S = 600
_START_S = 120.0


class _Side:
    """Ten workers and a coordinator, in a database of their own."""

    def __init__(self, processes: Processes, database: int, devices: int) -> None:
        self.devices = [f"d{number}" for number in range(devices)]
        self.url = processes.url(database)
        shares = [self.devices[number::WORKERS] for number in range(WORKERS)]
        self.coordinator = processes.worker(f"control-{devices}", [CONTROL], self.url)
        for number, share in enumerate(shares):
            processes.worker(f"{devices}-{number}", [device_queue(device) for device in share], self.url)
        self.client = ResolutionClient(self.url)

    def wait_until_served(self) -> None:
        until = time.monotonic() + _START_S
        while len(self.client.workers()) < WORKERS + 1:
            if time.monotonic() > until:
                raise SystemExit(f"{WORKERS} workers for {len(self.devices)} devices did not start")
            time.sleep(0.1)

    def run(self, count: int) -> float:
        """Seconds for so many actions in one stage, spread over all devices."""
        actions = [
            {"id": f"a{n}", "device": self.devices[n % len(self.devices)], "uses": "wait", "with": {"for": "0ms"}}
            for n in range(count)
        ]
        strategy = {"name": "wide", "model": "parallel", "limits": {"parallel": count}, "actions": actions}
        begun = time.perf_counter()
        report = self.client.result(self.client.submit(strategy), timeout_s=_PATIENCE_S)
        took = time.perf_counter() - begun
        if report["status"] != "completed":
            raise SystemExit(f"{count} actions on {len(self.devices)} devices ended so: {report['error']}")
        return took

    def peak_mb(self) -> float:
        """The most memory that the coordinator has had."""
        told = Path(f"/proc/{self.coordinator.pid}/status").read_text()
        return round(int(told.split("VmHWM:")[1].split()[0]) / 1024, 1)


def measure(rounds: int, wide: int, say: Say) -> dict[str, Any]:
    """Medians and ratio, and how the widest stage went."""
    with Processes() as processes:
        sides = {count: _Side(processes, number, count) for number, count in enumerate((WORKERS, MANY))}
        for side in sides.values():
            side.wait_until_served()
        say(f"{WORKERS} workers serve {WORKERS} devices, and {WORKERS} serve {MANY}")
        try:
            share = share_of_a_core(processes.url(len(sides)), devices=MANY, seconds=20.0)
            watched = {f"watchdog_percent_of_a_core_{MANY}_devices": round(share * 100, 2)}
            return {**_compared(sides, rounds, say), **_widest(sides[MANY], wide, say), **watched}
        finally:
            for side in sides.values():
                side.client.close()


def _compared(sides: Mapping[int, _Side], rounds: int, say: Say) -> dict[str, Any]:
    taken: dict[int, list[float]] = {count: [] for count in sides}
    for number in range(rounds + 1):
        order = list(sides) if number % 2 else list(sides)[::-1]
        for count in order:
            seconds = sides[count].run(_ACTIONS)
            if number:  # the first is not counted: connections and loaded code are warm after it
                taken[count].append(seconds * 1000 / _ACTIONS)
        say(f"round {number}: " + ", ".join(f"{c} devices {t[-1]:.2f} ms" for c, t in taken.items() if t))
    few, many = (statistics.median(taken[count]) for count in (WORKERS, MANY))
    return {
        f"ms_per_action_{WORKERS}_devices": round(few, 3),
        f"ms_per_action_{MANY}_devices": round(many, 3),
        "ratio": round(many / few, 3),
    }


def _widest(side: _Side, count: int, say: Say) -> dict[str, Any]:
    before = side.peak_mb()
    seconds = side.run(count)
    say(f"{count} actions in one stage: {seconds:.1f} s")
    return {
        "wide_actions": count,
        "wide_s": round(seconds, 2),
        "coordinator_mb_before": before,
        "coordinator_peak_mb": side.peak_mb(),
    }

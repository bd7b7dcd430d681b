"""Taking the times: rounds over all sides, and the few figures beside the graphs."""

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks import raw
from benchmarks.cluster import Cluster
from benchmarks.graphs import DEVICES, Graph

Say = Callable[[str], None]
_PATIENCE_S = 120


def measure(cluster: Cluster, graphs: Iterable[Graph], rounds: int | None, say: Say) -> dict[str, dict[str, Any]]:
    """Medians in milliseconds and ratios to raw Celery, by graph."""
    found = {}
    for graph in graphs:
        taken: dict[str, list[float]] = defaultdict(list)
        sides = [side for side in cluster.sides if _compared(graph, side)]
        for side in sides if graph.rounds > 1 else []:
            run_once(cluster, graph, side)  # not counted: connections, caches and loaded code are warm after it
        for number in range(rounds or graph.rounds):
            # whoever begins would find the server rested: take turns
            for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
                taken[side].append(run_once(cluster, graph, side) * 1000)
            say(f"{graph.name} {number + 1}: " + ", ".join(f"{s} {taken[s][-1]:.1f} ms" for s in sides))
        found[graph.name] = _figures(graph, taken)
    return found


def _compared(graph: Graph, side: str) -> bool:
    if side == "celery":
        return not graph.slots
    return graph.fuses or not side.endswith("fused")


def run_once(cluster: Cluster, graph: Graph, side: str) -> float:
    """Seconds from handing a graph over until its end is known."""
    if side == "celery":
        begun = time.perf_counter()
        raw.start(cluster.celery, graph).get(timeout=_PATIENCE_S, propagate=False)
        return time.perf_counter() - begun
    strategy = graph.strategy()
    client = cluster.clients[side]
    begun = time.perf_counter()
    result = client.result(client.submit(strategy), timeout_s=_PATIENCE_S)
    took = time.perf_counter() - begun
    if result["status"] != graph.status:
        raise SystemExit(f"{graph.name} ended as {result['status']}: {result['error']}")
    return took


def _figures(graph: Graph, taken: dict[str, list[float]]) -> dict[str, Any]:
    medians = {side: statistics.median(times) for side, times in taken.items()}

    def ratio(side: str) -> float | None:
        if side not in medians or "celery" not in medians:
            return None
        return round(medians[side] / medians["celery"], 3)

    def milliseconds(side: str) -> float | None:
        return round(medians[side], 2) if side in medians else None

    return {
        "celery_ms": milliseconds("celery"),
        "rex_ms": milliseconds("rex"),
        "ratio": ratio("rex"),
        "rex_fused_ms": milliseconds("rex_fused"),
        "ratio_fused": ratio("rex_fused"),
        **{f"{side}_ms": milliseconds(side) for side in medians if side.startswith("before")},
        "rex_ms_per_action": round(medians["rex"] / graph.actions, 3),
        "rounds": len(taken["rex"]),
    }


def first_action_ms(cluster: Cluster, rounds: int) -> dict[str, float]:
    """From the call of `submit` until the ledger says that the first action has begun, by one clock."""
    client = cluster.clients["rex"]
    action = {"id": "a", "device": DEVICES[0], "uses": "wait", "with": {"for": "0ms"}}
    strategy = {"name": "first-action", "actions": [action]}
    taken = []
    for _ in range(rounds):
        begun_ms = time.time() * 1000
        execution = client.submit(strategy)
        for event in client.events(execution):
            if event["event"] == "execution:action:started":
                taken.append(event["timestamp"] - begun_ms)
        time.sleep(0.02)
    taken.sort()
    return {"p50": round(statistics.median(taken), 1), "p95": round(taken[int(len(taken) * 0.95)], 1)}


def command_s(arguments: list[str], rounds: int = 3) -> float | None:
    """Seconds that a `rex` command takes as a process of its own; None where it fails, or is not there yet."""
    command = Path(sys.executable).with_name("rex")
    if not command.exists():
        return None
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        ended = subprocess.run([str(command), *arguments], capture_output=True, check=False)
        taken.append(time.perf_counter() - begun)
        if ended.returncode != 0:
            return None
    return round(statistics.median(taken), 3)

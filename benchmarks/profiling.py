"""Where the time of 1,000 actions in parallel goes: CPU by process and, with py-spy, by part of the code."""

import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cluster import Cluster, running
from benchmarks.graphs import DEVICES, GRAPHS
from benchmarks.measure import Say, run_once

_ROUNDS = 3
_SAMPLED_S = 10
_IDLE = (".wait (threading.py", "poll (", "_worker (concurrent")
_PARTS = (
    # a stack belongs to the first part of which it has a frame; frames look like ``Runner.run (workers/runner.py:1)``
    ("claim", ("Runner._claim ",)),
    ("settle", ("Runner._settle ",)),
    ("the action itself", ("execute_action ",)),
    ("lease and task events of fused actions", (".hold ", ".showing ")),
    ("the rest of the task's body", ("Runner.run ",)),
    ("counting of the chord", ("on_chord_part_return ",)),
    ("acknowledgement", ("ack_log_error ",)),
    ("task events", ("EventDispatcher.flush ", "send_event ", "EventDispatcher.send ")),
    ("fetching a message", ("on_readable ", "_brpop_start ")),
    ("tracing and handing over", ("trace_task ", "apply_target ", "_process_task ", "_WorkItem.run ")),
    ("renewal", ("_renew_for_ever ",)),
)


def profile(say: Say) -> dict[str, Any]:
    """CPU time of each process per action, for both sides; and the parts of a device worker of rex."""
    graph = next(graph for graph in GRAPHS if graph.name == "parallel-1000")
    found: dict[str, Any] = {}
    with running(fused=False) as cluster:
        for side in ("celery", "rex"):
            run_once(cluster, graph, side)
            before, begun = _cpu_s(cluster, side), time.perf_counter()
            for _ in range(_ROUNDS):
                run_once(cluster, graph, side)
            actions = _ROUNDS * graph.actions
            spent = {name: _each_ms(s - before[name], actions) for name, s in _cpu_s(cluster, side).items()}
            found[side] = {
                "wall_ms_per_action": _each_ms(time.perf_counter() - begun, actions),
                "cpu_ms_per_action": spent,
            }
            say(f"{side}: {found[side]}")
        if shutil.which("py-spy"):
            found["device_worker_parts"] = _parts(cluster, lambda: run_once(cluster, graph, "rex"))
    return found


def table(found: Mapping[str, Any]) -> str:
    """`found` for people."""
    lines = []
    for side in ("celery", "rex"):
        lines.append(f"{side}: {found[side]['wall_ms_per_action']} ms per action; CPU of its processes, ms per action:")
        lines += [f"  {name:12}{ms:8.3f}" for name, ms in found[side]["cpu_ms_per_action"].items()]
    if "device_worker_parts" in found:
        lines.append("Samples of a device worker, by part:")
        lines += [f"  {name:40}{share:6.1%}" for name, share in found["device_worker_parts"].items()]
    else:
        lines.append("With py-spy on PATH the parts of a worker are shown too: pip install py-spy")
    return "\n".join(lines)


def _each_ms(seconds: float, actions: int) -> float:
    return round(seconds * 1000 / actions, 3)


def _cpu_s(cluster: Cluster, side: str) -> dict[str, float]:
    processes = {**cluster.sides[side].processes, "server": cluster.server}
    spent = {name: psutil.Process(process.pid).cpu_times() for name, process in processes.items()}
    mine = psutil.Process().cpu_times()
    return {name: times.user + times.system for name, times in {**spent, "client": mine}.items()}


def _parts(cluster: Cluster, run: Any) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="rex-bench-") as folder:
        output = Path(folder) / "samples"
        worker = cluster.sides["rex"].processes[DEVICES[0]]
        spy = subprocess.Popen(
            ["py-spy", "record", "--pid", str(worker.pid), "--format", "raw", "--output", str(output),
             "--duration", str(_SAMPLED_S), "--rate", "100"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + _SAMPLED_S
        while time.monotonic() < until:
            run()
        spy.wait(30)
        return shares(output.read_text().splitlines())


def shares(stacks: Iterable[str]) -> dict[str, float]:
    """Share of each part, of lines such as ``frame;frame;frame 12`` that are not idle; the largest first."""
    counted: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not any(mark in frames[-1] for mark in _IDLE):
            counted[_part(frames)] += int(count)
    total = sum(counted.values()) or 1
    return {name: count / total for name, count in counted.most_common()}


def _part(frames: list[str]) -> str:
    return next((name for name, marks in _PARTS if any(mark in frame for frame in frames for mark in marks)), "else")

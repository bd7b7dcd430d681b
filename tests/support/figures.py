"""The figures of a kill storm, for people and as JSON; nothing in them but what was seen."""

import json
import os
from pathlib import Path
from typing import Any

from support.kill_storm import Figures

GOALS_S = {"worker killed, another worker there": 1.5}
"""What the 99th percentile of a takeover should be below."""
_FILE = Path(__file__).parents[2] / "build" / "chaos.json"


def as_json(figures: Figures) -> dict[str, Any]:
    """What is written; an invariant by its number, as often as it was broken."""
    return {
        "seed": figures.seed,
        "seconds": round(figures.seconds, 1),
        "executions": figures.ends.total() + figures.stuck,
        "ends": dict(sorted(figures.ends.items())),
        "faults": {"total": figures.faults.total(), **dict(sorted(figures.faults.items()))},
        "faults_that_hit_nothing": dict(sorted((+figures.void).items())),
        "lost": _broken(figures, "1", "7"),
        "doubled": _broken(figures, "3", "4", "5"),
        "stuck": figures.stuck,
        "left_for_a_person": figures.left,
        "wrong": figures.wrong,
        "healthy_afterwards": figures.healthy,
        "last_end_after_the_last_fault_s": round(figures.last_end_s, 2),
        "takeover_s": {name: spread(values) for name, values in sorted(figures.takeovers_s.items())},
        "slowest_takeovers": figures.slowest,
    }


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)

    def share(of: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(of * len(ordered)))], 3)

    return {"count": len(ordered), "p50": share(0.5), "p99": share(0.99), "max": round(ordered[-1], 3)}


def _broken(figures: Figures, *invariants: str) -> int:
    return sum(any(f" {number}: " in f" {problem}" for number in invariants) for problem in figures.wrong)


def table(found: dict[str, Any]) -> str:
    faults = {name: count for name, count in found["faults"].items() if name != "total"}
    rows = [
        f"seed {found['seed']}, {found['seconds']} s",
        f"{'executions':52}{found['executions']:>8}   {_counts(found['ends'])}",
        f"{'faults':52}{found['faults']['total']:>8}   {_counts(faults)}",
        *(f"{name.replace('_', ' '):52}{found[name]:>8}" for name in
          ("lost", "doubled", "stuck", "left_for_a_person", "healthy_afterwards", "last_end_after_the_last_fault_s")),
        "",
        f"{'takeover in s':52}{'count':>8}{'p50':>8}{'p99':>8}{'max':>8}{'goal':>8}",
    ]  # fmt: skip
    for name, at in found["takeover_s"].items():
        goal = f"{GOALS_S[name]:g}" if name in GOALS_S else ""
        rows.append(f"{name:52}{at['count']:>8}{at['p50']:>8}{at['p99']:>8}{at['max']:>8}{goal:>8}")
    return "\n".join(rows)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def write(found: dict[str, Any]) -> Path:
    """Write it where ``CHAOS_JSON`` says, or into ``build``."""
    path = Path(os.environ.get("CHAOS_JSON") or _FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path

"""``python -m benchmarks``: compare rex with raw Celery."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import devices, profiling
from benchmarks.cluster import running
from benchmarks.graphs import GRAPHS, Graph
from benchmarks.measure import command_s, first_action_ms, measure


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Compare rex with raw Celery.")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, help="rounds of each graph (default: more for small ones)")
    parser.add_argument(
        "--only", action="append", choices=[graph.name for graph in GRAPHS], metavar="NAME",
        help="measure only this graph; may be repeated: " + ", ".join(graph.name for graph in GRAPHS),
    )  # fmt: skip
    parser.add_argument("--profile", action="store_true", help="show where the time of 1,000 in parallel goes")
    parser.add_argument(
        "--before", type=Path, metavar="FOLDER", help="a former checkout of rex, measured in the same rounds"
    )
    parser.add_argument(
        "--devices", action="store_true", help="500 device queues beside 10, and 10,000 actions in a stage, instead"
    )
    asked = parser.parse_args()
    if asked.devices:
        many = devices.measure(asked.rounds or 3, devices.WIDE, _say)
        print(
            json.dumps(many, indent=2) if asked.json else "\n".join(f"{name}: {value}" for name, value in many.items())
        )
        return
    graphs = [graph for graph in GRAPHS if not asked.only or graph.name in asked.only]
    if asked.profile:
        found = profiling.profile(_say)
        print(json.dumps(found, indent=2) if asked.json else profiling.table(found))
        return
    found = _measured(graphs, asked.rounds, before=asked.before, alone=bool(asked.only))
    print(json.dumps(found, indent=2) if asked.json else _table(found))


def _measured(graphs: list[Graph], rounds: int | None, *, before: Path | None, alone: bool) -> dict[str, Any]:
    with running(fused=any(graph.fuses for graph in graphs), before=before) as cluster:
        _say(f"{sum(len(side.processes) for side in cluster.sides.values())} workers serve")
        found: dict[str, Any] = measure(cluster, graphs, rounds, _say)
        if not alone:
            found["submit_to_first_action_ms"] = first_action_ms(cluster, (rounds or 5) * 10)
    if not alone:
        found["validate_500_s"] = _validate_s(500)
        found["help_s"] = command_s(["--help"])
    return found


def _validate_s(actions: int) -> float | None:
    listed = [{"id": f"a{n}", "uses": "wait", "with": {"for": "1ms"}, "device": "edge-1"} for n in range(actions)]
    with tempfile.TemporaryDirectory(prefix="rex-bench-") as folder:
        file = Path(folder) / "strategy.json"
        file.write_text(json.dumps({"name": "large", "model": "parallel", "actions": listed}, indent=1))
        return command_s(["validate", str(file)])


def _table(found: dict[str, Any]) -> str:
    lines = [f"{'':24}{'celery':>10}{'rex':>10}{'ratio':>8}{'fused':>10}{'ratio':>8}{'rex, per action':>18}"]
    rest = {}
    for name, row in found.items():
        if not isinstance(row, dict) or "rex_ms" not in row:
            rest[name] = row
            continue
        times = [_shown(row[key], ".1f", width) for key, width in (("celery_ms", 10), ("rex_ms", 10))]
        fused = [_shown(row["rex_fused_ms"], ".1f", 10), _shown(row["ratio_fused"], ".2f", 8)]
        each = _shown(row["rex_ms_per_action"], ".2f", 15) + " ms"
        former = [f"   {key.removesuffix('_ms')} {row[key]:.1f}" for key in row if key.startswith("before")]
        lines.append(f"{name:24}" + "".join([*times, _shown(row["ratio"], ".2f", 8), *fused, each, *former]))
    lines += ["", *(f"{name}: {value}" for name, value in rest.items())] if rest else []
    return "\n".join(["Medians in ms", *lines])


def _shown(value: float | None, form: str, width: int) -> str:
    return ("-" if value is None else format(value, form)).rjust(width)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""What is said at the end of a run, for people."""

from collections.abc import Iterator
from typing import Any

_UNDONE = {
    "completed": "everything that was done has been taken back",
    "partial": "not everything could be taken back",
    "failed": "the state before could not be proved",
    "disabled": "nothing was taken back: the strategy or the settings say so",
    "running": "the rollback runs",
}


def summary(report: dict[str, Any]) -> str:
    """How it went, what was taken back, and what is left for a person."""
    return "\n".join(_lines(report))


def _lines(report: dict[str, Any]) -> Iterator[str]:
    degraded = ", degraded" if report["degraded"] else ""
    took = f"after {report['duration_s']:.2f} s ({report['execution_id']})"
    yield f"{report['strategy']} {report['status']}{degraded} {took}"
    if report["error"] is not None:
        action = report["error"].get("action")
        yield from _indented(f"{action + ': ' if action else ''}{report['error']['message']}")
    for snapshot in report.get("snapshots", ()):
        if snapshot["error"] is not None and snapshot["id"] != (report["error"] or {}).get("action"):
            yield from _indented(f"{snapshot['id']} on {snapshot['device']}: {snapshot['error']['message']}")
    for name, action in report["actions"].items():
        if action["error"] is not None and name != (report["error"] or {}).get("action"):
            yield from _indented(f"{name} ({action['status']}): {action['error']['message']}")
    for criterion in report["success_criteria"]:
        if criterion["met"] is False:
            yield f"  not met: {criterion['expression']}"
    yield from _rollback(report["rollback"])


def _rollback(rollback: dict[str, Any]) -> Iterator[str]:
    if rollback["status"] in _UNDONE:
        kept = rollback["status"] == "completed" and rollback.get("kept")
        what = "everything that was asked for has been taken back" if kept else _UNDONE[rollback["status"]]
        yield f"rollback {rollback['status']}: {what}"
    if (rollback.get("chosen") or {}).get("asked") == "adaptive" and rollback["chosen"]["reasons"]:
        yield f"  by {rollback['mechanism']}: {'; '.join(rollback['chosen']['reasons'])}"
    for one in rollback["compensated"]:
        again = f" after {one['attempts']} attempts" if one["attempts"] > 1 else ""
        yield f"  taken back: {one['action']} on {one['device']}{again}"
    for one in rollback.get("restored", ()):
        yield f"  restored: {one['action']} on {one['device']}"
    if rollback.get("kept"):
        yield f"  kept: {', '.join(rollback['kept'])}"
    if rollback["remaining"]:
        yield "left for a person:"
        for one in rollback["remaining"]:
            yield from _indented(f"{one['action']} on {one['device']}: {one['what']}: {one['reason']}")


def _indented(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield f"  {line}"

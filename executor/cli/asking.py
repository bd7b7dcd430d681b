"""`rex status`, `result`, `list`, `cancel`: questions about one execution, or all."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from executor.cli.connecting import connect, settings
from executor.cli.earlier import tell_of_earlier
from executor.cli.output import note, say, say_json, say_table
from executor.cli.statuses import STILL_RUNS, exit_status
from executor.cli.summary import summary


def status(execution: str, *, as_json: bool, config: Path | None) -> int:
    """Show the report so far."""
    with connect(config).client() as client:
        report = client.status(execution)
    _show(report, as_json=as_json)
    return 0


def result(execution: str, *, as_json: bool, wait_s: float | None, config: Path | None) -> int:
    """Show the final report; wait for it."""
    with connect(config).client(patience_s=30.0) as client:
        try:
            report = client.result(execution, timeout_s=wait_s)
        except TimeoutError as error:
            note(f"rex: {error}")
            return STILL_RUNS
    _show(report, as_json=as_json)
    return exit_status(report)


def _show(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(report)
        return
    rows = [(one["id"], one["status"], one["device"], "", "", "") for one in report["snapshots"]]
    rows += [
        (name, one["status"], one["device"] or "", one["attempts"] or "", _took(one), one["undo"] or "")
        for name, one in report["actions"].items()
    ]
    if rows:
        say_table(("action", "status", "device", "attempts", "time", "rollback"), rows)
        say()
    if "waiting_for" in report:
        say(f"waiting: {report['waiting_for']}")
    say(summary(report))


def _took(action: dict[str, Any]) -> str:
    if not (action["started_at"] and action["finished_at"]):
        return ""
    took = datetime.fromisoformat(action["finished_at"]) - datetime.fromisoformat(action["started_at"])
    return f"{took.total_seconds():.2f} s"


def list_executions(limit: int, *, as_json: bool, config: Path | None) -> int:
    """Show the newest executions."""
    tell_of_earlier(settings(config).state_dir)
    with connect(config).client() as client:
        rows = client.list(limit=limit)
    if as_json:
        say_json(rows)
        return 0
    shown = []
    for row in rows:
        began = datetime.fromtimestamp(row["created_ms"] / 1000, tz=UTC).astimezone()
        took = f"{(row['finished_ms'] - row['created_ms']) / 1000:.2f} s" if row["finished_ms"] else ""
        shown.append((row["execution_id"], row["strategy"], row["status"], f"{began:%Y-%m-%d %H:%M:%S}", took))
    say_table(("execution", "strategy", "status", "submitted", "time"), shown)
    return 0


def cancel(execution: str, *, undo: bool, reason: str, as_json: bool, config: Path | None) -> int:
    """Ask for an end."""
    with connect(config).client() as client:
        client.cancel(execution, reason=reason, undo=undo)
    if as_json:
        say_json({"execution_id": execution, "cancelled": True, "rollback": undo})
    else:
        then = "what was done is taken back" if undo else "what runs may finish, and what was done stays"
        say(f"{execution} is being cancelled; {then}. `rex watch {execution}` follows it")
    return 0

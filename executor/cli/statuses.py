"""Exit statuses, as docs/reference/strategy.md has them."""

from typing import Any

COMPLETED = 0
FAILED = 1
WRONG = 2
REMAINING = 3
CANCELLED = 4
REFUSED = 5
STILL_RUNS = 6
UNREACHABLE = 7
LEFT = 130
BROKEN_PIPE = 141


def exit_status(report: dict[str, Any]) -> int:
    """What a run that ended with this report leaves with."""
    if report["rollback"]["remaining"] or report["rollback"]["status"] in ("partial", "failed"):
        return REMAINING
    return {"completed": COMPLETED, "cancelled": CANCELLED, "refused": REFUSED}.get(report["status"], FAILED)

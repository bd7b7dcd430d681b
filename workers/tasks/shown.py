"""What task events say of actions, for Flower and other listeners: each action as it ended, not as its message did.

A message has succeeded when its task returned, also when its action failed and the strategy says to go on.
"""

from typing import Any

from celery import Task
from celery.worker.request import Request

from executor.model.execution import Ended

_LONGEST = 1000


def event_of(ended: Ended, runtime_s: float) -> tuple[str, dict[str, Any]]:
    """The task event that tells how an action ended: its kind, and its fields."""
    if ended.status == "cancelled":
        return "task-revoked", {"terminated": False, "signum": None, "expired": False}
    if ended.error is None:
        return "task-succeeded", {"result": ended.reason or ended.status, "runtime": runtime_s}
    kind = "task-retried" if ended.status == "retry" else "task-failed"
    return kind, {"exception": str(ended.error["message"])[:_LONGEST], "traceback": ""}


class ShownRequest(Request):  # type: ignore[misc]
    """A message whose end is told as that of its one action, which the task left with itself (`RunTask.outcomes`)."""

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send a task event of this message."""
        if type in ("task-succeeded", "task-failed"):
            ended = self.task.outcomes.pop(self.id, None)
            if ended is not None:
                type, fields = event_of(ended, fields.get("runtime") or 0.0)  # noqa: A001
        super().send_event(type, **fields)


class RunTask(Task):  # type: ignore[misc]
    """The task of messages, of which there is one for each app."""

    Request = f"{__name__}:ShownRequest"

    def __init__(self) -> None:
        self.outcomes: dict[str, Ended] = {}
        """How the one action of a message ended, by task id, until Celery tells that the task did."""

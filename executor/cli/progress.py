"""How far an execution is, as its events tell."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from executor.model.execution import FINAL, TERMINAL, ActionStatus

_STATUS_OF = {"started": ActionStatus.RUNNING, "retrying": ActionStatus.WAITING, "waiting": ActionStatus.WAITING,
              "interrupted": ActionStatus.WAITING}  # fmt: skip


@dataclass
class Row:
    """One action."""

    status: str = ActionStatus.PENDING
    device: str = ""
    attempts: int = 0
    started_ms: int | None = None
    finished_ms: int | None = None
    undo: str = ""
    note: str = ""
    """Why it waits or failed."""


@dataclass
class Progress:
    """One execution."""

    state: str = "pending"
    rows: dict[str, Row] = field(default_factory=dict)
    waiting_for: str = ""

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL

    def expect(self, actions: Iterable[tuple[str, str]]) -> None:
        """These actions are to come, each with its device."""
        for name, device in actions:
            self.rows.setdefault(name, Row()).device = device

    def know(self, actions: Mapping[str, Mapping[str, Any]]) -> None:
        """Actions as a report has them."""
        for name, one in actions.items():
            self.rows[name] = Row(one["status"], one["device"] or "", one["attempts"], undo=one["undo"] or "")

    def apply(self, event: dict[str, Any]) -> None:
        """Take one event in."""
        subject, *rest = event["event"].split(":")
        data = event["data"]
        if rest[0] == "action":
            if subject == "rollback":
                self._undo(rest[1], data)
            else:
                self._action(rest[1], data, event["timestamp"])
        elif subject == "rollback":
            self.state = "rolling_back" if rest[0] in ("started", "planned") else self.state
            self.waiting_for = "a person's choice" if rest[0] == "waiting" else ""
        elif rest[0] in ("started", "resumed"):
            self.state, self.waiting_for = "running", ""
        elif rest[0] == "waiting":
            self.waiting_for = data["reason"]
        elif rest[0] in TERMINAL or rest[0] == "stopping":
            self.state = rest[0]
            self._close()

    def _close(self) -> None:
        for row in self.rows.values():
            if self.ended and row.status not in FINAL:
                row.status = ActionStatus.CANCELLED

    def _action(self, what: str, data: dict[str, Any], at_ms: int) -> None:
        row = self.rows.setdefault(data["action"], Row())
        if what == "started":
            row.device, row.attempts = data["device"], data["attempt"]
            row.started_ms = row.started_ms or at_ms
            row.note = ""
        if what == "progress":
            row.note = f"{data['fraction']:.0%} {data['message']}".rstrip()
            return
        row.status = str(data.get("status") or _STATUS_OF.get(what, row.status))
        row.note = reason_of(data)
        if row.status in FINAL:
            row.finished_ms = at_ms

    def _undo(self, what: str, data: dict[str, Any]) -> None:
        name = undone_action(data["action"])
        if name in self.rows:
            words = {"started": "taking back", "completed": "taken back", "failed": "not taken back",
                     "skipped": "nothing to do", "retrying": "trying again", "waiting": "waiting",
                     "cancelled": "not taken back", "interrupted": "interrupted"}  # fmt: skip
            self.rows[name].undo = words.get(what, self.rows[name].undo)


def undone_action(step: str) -> str:
    """The action that a step of the way back is about: the step of a fallback is named ``id/fallback``. Of a snapshot
    or a probe, itself.
    """
    return step if step.startswith(("snapshot/", "verify/")) else step.partition("/")[0]


def reason_of(data: dict[str, Any]) -> str:
    """What an event says about why."""
    for told in (data.get("error"), data.get("reason")):
        if isinstance(told, dict):
            return str(told["message"])
        if told:
            return str(told)
    return ""

"""States of executions and actions, and what the ledger answers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from executor.model.fan_out import action_of, device_of, joined
from executor.model.plan import Step


class ExecutionState(StrEnum):
    PENDING = "pending"  # accepted, not planned yet, or waiting for a device
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"  # no action begins any more; what runs is being stopped
    ROLLING_BACK = "rolling_back"
    CONCLUDING = "concluding"  # all work is done; the report is being made
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"  # nothing ran
    ROLLED_BACK = "rolled_back"  # a completed one that a person took back


TERMINAL = frozenset(
    {
        ExecutionState.COMPLETED,
        ExecutionState.FAILED,
        ExecutionState.CANCELLED,
        ExecutionState.REFUSED,
        ExecutionState.ROLLED_BACK,
    }
)

NEXT: dict[ExecutionState, frozenset[ExecutionState]] = {
    ExecutionState.PENDING: frozenset(
        {ExecutionState.RUNNING, ExecutionState.CONCLUDING, ExecutionState.REFUSED, ExecutionState.FAILED}
    ),
    ExecutionState.RUNNING: frozenset({ExecutionState.PAUSED, ExecutionState.STOPPING, ExecutionState.CONCLUDING}),
    ExecutionState.PAUSED: frozenset({ExecutionState.RUNNING, ExecutionState.STOPPING}),
    ExecutionState.STOPPING: frozenset({ExecutionState.ROLLING_BACK, ExecutionState.CONCLUDING}),
    ExecutionState.ROLLING_BACK: frozenset(
        # running: a person lets a guided one go on
        {ExecutionState.STOPPING, ExecutionState.CONCLUDING, ExecutionState.RUNNING}
    ),
    ExecutionState.CONCLUDING: frozenset(
        {ExecutionState.COMPLETED, ExecutionState.FAILED, ExecutionState.CANCELLED, ExecutionState.ROLLED_BACK}
    ),
    # a person or a service may ask for the rollback of what has ended
    ExecutionState.COMPLETED: frozenset({ExecutionState.ROLLING_BACK}),
    ExecutionState.FAILED: frozenset({ExecutionState.ROLLING_BACK}),
    ExecutionState.CANCELLED: frozenset({ExecutionState.ROLLING_BACK}),
    ExecutionState.REFUSED: frozenset(),
    ExecutionState.ROLLED_BACK: frozenset({ExecutionState.ROLLING_BACK}),
}
"""Which state may follow which; the one table, drawn in docs/explanation/ledger.md."""


class ActionStatus(StrEnum):
    PENDING = "pending"  # its stage has not begun
    READY = "ready"  # may be claimed
    WAITING = "waiting"  # for a delay, a slot, or a device
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


FINAL = frozenset(
    {
        ActionStatus.SUCCEEDED,
        ActionStatus.FAILED,
        ActionStatus.SKIPPED,
        ActionStatus.CANCELLED,
        ActionStatus.TIMED_OUT,
    }
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """The ledger's yes: run this step now, under this token."""

    execution: str
    generation: int
    token: str
    attempt: int
    probe: bool
    """A former holder died; find out first whether it was done."""
    step: Step
    strategy: str
    inputs: dict[str, Any]
    context: dict[str, Any]
    reads: dict[str, dict[str, Any]]
    """What expressions may read of other actions: status, result, error, device, attempts."""
    undone: dict[str, Any] = field(default_factory=dict)
    """For a compensation: ``result``, ``error`` and ``snapshot`` of the action that it takes back."""
    undo: dict[str, Any] | None = None
    """The undo record that an earlier attempt has written; only the first counts."""
    undo_fallback: dict[str, Any] | None = None
    """That of the fallback: where there is one, a former holder had begun it."""
    now_ms: int = field(default=0, compare=False)
    """The ledger's clock when it was claimed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Every other answer to a claim: done, failed, cancelled, park, wait, early, moved, unknown, fenced."""

    kind: str
    action: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one attempt ended."""

    status: str
    """A final `ActionStatus`, or ``retry``."""
    result: Any = None
    error: dict[str, Any] | None = None
    reason: str = ""
    """Why it was skipped."""
    effect: str = "none"
    """none, started, unknown or completed: decides what is taken back."""
    delay_s: float = 0.0
    marks: dict[str, str] = field(default_factory=dict)
    """More to keep with the action: degraded, the fallback's effect."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The ledger's answer to `Ended`: ok, fatal (it ended the execution), retry or stale."""

    verdict: str
    following: Claimed | Answer | None = None
    """For a fused message: the claim of what comes next."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One entry of the outbox."""

    id: str
    entry: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pulse:
    """Which workers have not renewed for long, by the server's clock."""

    run_id: str
    """Which run of the server this is."""
    now_ms: int
    silent: Mapping[str, int]
    """When each of them renewed last, by incarnation; the future means that the clock was put back."""
    counted: Mapping[str, int]
    """Renewal counters of all workers of the previous release, which tell no times."""
    since_ms: int
    """Since when this run of the server has been looked at: a connection of a worker that was last heard before has
    ended with the server, and its absence tells nothing of the worker."""


@dataclass(frozen=True, slots=True)
class Move:
    """Messages of an open stage that go to another device."""

    lost: str
    """Where they were."""
    to: str
    messages: tuple[tuple[str, ...], ...]
    """The actions of each that have not ended, in order."""
    reason: str
    """For people."""
    error: str = ""
    """What became of the device, for people; empty: it lives, and is drained."""


@dataclass(frozen=True, slots=True)
class OpenStage:
    """The stage that an execution is at, with actions that have not ended."""

    generation: int
    number: int
    opened_ms: int
    """When it was opened, by the server's clock."""
    moves: int = 0
    """How often something of the execution was moved to another device."""


READ = ("status", "outcome", "device", "attempt")
"""Fields of an action in the ledger that `readable` takes, in this order."""


def readable(status: str, outcome: str, device: str, attempts: str) -> dict[str, Any]:
    """An action as expressions see it, of its fields in the ledger: without a success its result is null."""
    told = json.loads(outcome) if outcome else {}
    return {
        "status": status or "pending",
        "result": told.get("result") if status == ActionStatus.SUCCEEDED else None,
        "error": told.get("error"),
        "device": device or None,
        "attempts": int(attempts or 0),
    }


def readable_all(rows: Iterable[Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Actions as expressions see them, by id; the instances of one that runs on several devices are put together.

    Args:
        rows: of each its id, then as for `readable`.
    """
    found: dict[str, dict[str, Any]] = {}
    several: dict[str, dict[str, dict[str, Any]]] = {}
    for name, *fields in rows:
        if device := device_of(name):
            several.setdefault(action_of(name), {})[device] = readable(*fields)
        else:
            found[name] = readable(*fields)
    return {**found, **{name: joined(instances) for name, instances in several.items()}}

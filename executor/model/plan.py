"""What the planner makes of a strategy: steps, in messages, in stages.

A *stage* is one Celery canvas: a sequence (chain) or a group (chord). A *message* is one Celery task; neighbours of a
sequence on one device are fused into one. A *step* is one action of one generation, with all that its worker needs.
Generation 0 is the way forward, those above are ways back.
"""

import uuid
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from executor.model.fan_out import fan_outs

_IDS = uuid.UUID("5f1c3a52-8f0e-4c55-9f0b-6a7d6a3b8c11")

WayBackRule = Literal["restores", "compensates", "completed", "started", "nothing", "none", "lacking"]


FALLBACK = "/fallback"
"""Added to an action's id for the step that takes back its fallback."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetryRule(Frozen):
    """Filled-in retry policy; all delays in seconds."""

    max_attempts: int = 1
    delay_s: float = 0.1
    multiplier: float = 2.0
    max_delay_s: float = 30.0
    jitter: float = 0.25
    on: tuple[str, ...] = ("transient", "timeout", "resource")


class Reads(Frozen):
    """Which data the expressions of something need, so that the ledger hands over no more."""

    actions: tuple[str, ...] = ()
    fan_outs: tuple[str, ...] = ()
    """Those of `actions` that run on several devices."""
    inputs: bool = False
    context: bool = False

    def __or__(self, other: "Reads") -> "Reads":
        return Reads(
            actions=tuple(sorted({*self.actions, *other.actions})),
            fan_outs=tuple(sorted({*self.fan_outs, *other.fan_outs})),
            inputs=self.inputs or other.inputs,
            context=self.context or other.context,
        )


class Call(Frozen):
    """An action type with its parameters as written."""

    uses: str
    with_: dict[str, Any] = Field(default_factory=dict)
    reads: Reads = Reads()

    def shown(self) -> str:
        """What it does, short: its type and the parameter that tells most; secrets are only named in parameters."""
        for name in ("path", "run", "argv", "url", "call"):
            if name in self.with_:
                return f"{self.uses} {self.with_[name]}"
        return self.uses


class WayBack(Frozen):
    """How the effect of a call is taken back."""

    rule: WayBackRule = "nothing"
    """restores, compensates: the type itself. completed, started: as declared, after that. nothing: nothing was
    changed. none: nothing is to be taken back. lacking: something was changed, and nobody said how to undo it."""
    call: Call | None = None
    """What was declared."""
    local: bool = False
    """Its effects lie on its device, where a snapshot may hold them."""
    idempotent: bool = False
    """Whether what was declared may run again when nobody knows whether it ran."""
    timeout_s: float = 30.0
    retry: RetryRule = RetryRule()
    reach: bool = False
    """Another device can take it back as well."""


class Fallback(Frozen):
    """What is tried once when the last attempt has failed."""

    call: Call
    way_back: WayBack = WayBack()


class FanOut(Frozen):
    """Of an action that runs on several devices: what its instances have in common."""

    of: str
    """The action's id; an instance is called ``ID@DEVICE``."""
    at_once: int = 0
    """How many devices may be at it at once (``max_unavailable``); 0: all."""
    bearable: int = 0
    """How many devices may fail under ``on_failure: continue``; one more fails the execution."""


class Step(Frozen):
    """One action of one generation."""

    id: str
    device: str
    agent: str | None = None
    """The kind of agent that must serve that device."""
    capabilities: tuple[str, ...] = ()
    """What that device must announce; ``name=value`` stands for a label."""
    movable: bool = False
    """Its device was chosen by us: while it has not begun, any other that can do it does as well."""
    reach: bool = False
    """Another device reaches the same thing: what has begun on one can be probed, finished or taken back on another."""
    placed: str = ""
    """Why it was given to that device, for people; empty: its strategy names the device."""
    fan_out: FanOut | None = None
    call: Call
    way_back: WayBack = WayBack()
    method: Literal["execute", "compensate"] = "execute"
    purpose: Literal["forward", "undo", "verify", "snapshot"] = "forward"
    """verify: a probe of ``rollback.verify``. snapshot: one of ``snapshot``, taken before the first action."""
    timeout_s: float = 30.0
    retry: RetryRule = RetryRule()
    when: str | None = None
    success: str | None = None
    on_failure: Literal["rollback", "stop", "continue"] = "rollback"
    fallback: Fallback | None = None
    idempotent: bool = False
    needs: tuple[tuple[str, bool], ...] = ()
    """Pairs of an action's id and whether it is enough that it ended."""
    reads: Reads = Reads()
    """What this step needs as a whole."""
    undoes: str | None = None
    """The action of generation 0 that this step takes back."""
    of_fallback: bool = False
    """It takes back the fallback of that action."""
    probe: Call | None = None
    """Nobody knows whether this was done: ask its type first."""
    unless: str | None = None
    """A step of the same generation: where that succeeded, this one has nothing to do."""
    stands_for: tuple[str, ...] = ()
    """Of a snapshot that is restored: the undo steps that it makes needless."""
    what: str = ""
    """Of a step of the way back, for people: what is taken back, or asked."""
    force: bool = False
    """A person said so: overwrite what others changed since."""
    quiet_ms: tuple[int, int] | None = None
    """By the ledger's clock: nothing of the execution ran in between; what changed then was changed by others."""


class Stage(Frozen):
    """One canvas."""

    kind: Literal["sequence", "group"]
    name: str = ""
    messages: tuple[tuple[str, ...], ...]
    """Ids of the steps of each message, in order."""
    queues: tuple[str, ...]
    """Device of each message."""
    verify: tuple[str, ...] = ()

    @cached_property
    def steps(self) -> tuple[str, ...]:
        return tuple(step for message in self.messages for step in message)


class Plan(Frozen):
    """All stages of one generation, and what is decided by at its end."""

    stages: tuple[Stage, ...]
    strategy: str = ""
    parallel: int = 0
    """``limits.parallel``; 0: no bound."""
    timeout_s: float = 0.0
    """``limits.timeout``."""
    success_criteria: tuple[str, ...] = ()
    rollback_mechanism: str = "adaptive"
    rollback_actions: tuple[str, ...] = ()
    """What ``rollback.actions`` names."""
    rollback_timeout_s: float | None = None
    rollback_verify: tuple[Step, ...] = ()
    """Probes that must hold after the rollback."""

    @cached_property
    def devices(self) -> list[str]:
        """Devices that its messages go to, sorted."""
        return sorted({device for stage in self.stages for device in stage.queues})

    def sizes(self) -> list[int]:
        return [len(stage.steps) for stage in self.stages]

    @cached_property
    def fan_outs(self) -> dict[str, tuple[str, ...]]:
        """The instances of each action that runs on several devices."""
        return fan_outs(name for stage in self.stages for name in stage.steps)


def message_id(execution: str, generation: int, stage: int, first: str) -> str:
    """The Celery task id of a message: the same however often it is published."""
    return str(uuid.uuid5(_IDS, f"{execution}|{generation}|{stage}|{first}"))


def action_task_id(execution: str, generation: int, step: str) -> str:
    """The id under which an action inside a fused message shows its own task events."""
    return str(uuid.uuid5(_IDS, f"{execution}|{generation}|{step}"))


FORMAT = 2
"""Of an execution; this release reads it and those before. ``ledger/lua/prelude.lua`` says the same."""


def format_of(steps: Iterable[Step]) -> int:
    """The oldest format of an execution with these steps: 2 where a worker of the release before cannot read them."""
    new = any(
        step.movable or step.reach or step.placed or step.capabilities or step.fan_out is not None
        or step.way_back.reach or (step.fallback is not None and step.fallback.way_back.reach)
        for step in steps
    )  # fmt: skip
    return 2 if new else 1


def group(steps: Iterable[Step], name: str = "", verify: Iterable[str] = ()) -> Stage:
    """Steps side by side, one message each."""
    listed = list(steps)
    return Stage(
        kind="group",
        name=name,
        messages=tuple((step.id,) for step in listed),
        queues=tuple(step.device for step in listed),
        verify=tuple(verify),
    )


def sequence(steps: Sequence[Step], *, length: int, fuse: bool, name: str = "") -> list[Stage]:
    """Steps one after the other, cut into stages of at most `length` steps.

    A canvas carries all that follows in every message, so a long sequence is cut; neighbours on one device are fused
    into one message where `fuse` says so.
    """
    stages = []
    for start in range(0, len(steps), length):
        messages: list[list[str]] = []
        queues: list[str] = []
        before = steps[start]
        for step in steps[start : start + length]:
            # what is fused goes to another device whole, or not at all
            if fuse and queues and queues[-1] == step.device and _moves_as(before) == _moves_as(step):
                messages[-1].append(step.id)
            else:
                messages.append([step.id])
                queues.append(step.device)
            before = step
        stages.append(Stage(kind="sequence", name=name, messages=tuple(map(tuple, messages)), queues=tuple(queues)))
    return stages


def _moves_as(step: Step) -> tuple[bool, bool]:
    return step.movable, step.reach


def rules(plan: Plan, steps: dict[str, Step]) -> dict[str, dict[str, Any]]:
    """The few facts of each step that the ledger's scripts decide by; a key that says nothing is left out."""
    table: dict[str, dict[str, Any]] = {}
    for number, stage in enumerate(plan.stages):
        before: str | None = None
        for name in stage.steps:
            step, fan_out, reads = steps[name], steps[name].fan_out, steps[name].reads
            rule: dict[str, Any] = {
                "s": number, "t": round(step.timeout_s * 1000) * (2 if step.fallback else 1), "d": step.device,
                "f": step.on_failure, "p": before, "id": step.idempotent or None, "i": reads.inputs or None,
                "c": reads.context or None, "r": [one for one in reads.actions if one not in reads.fan_outs] or None,
                "rf": list(reads.fan_outs) or None,
                "n": [[*need, *([True] if need[0] in plan.fan_outs else [])] for need in step.needs] or None,
                "u": step.undoes,
                "w": "undo_fallback" if step.of_fallback else None, "o": step.unless, "m": step.movable or None,
                "re": step.reach or None,
            }  # fmt: skip
            if fan_out is not None:
                rule |= {"of": fan_out.of, "k": fan_out.at_once or None, "b": fan_out.bearable}
            table[name] = {key: value for key, value in rule.items() if value is not None}
            before = name if stage.kind == "sequence" else None
    return table

"""The strategy file as models; the format itself is described in docs/reference/strategy.md.

A field that is left out is None, "not said": the planner fills it from ``defaults`` and the settings, so that the
settings stay the one place of every default.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from executor.model.durations import Duration

MAX_ACTIONS = 10_000
MAX_BYTES = 5 * 1024 * 1024

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
LABEL = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}"
"""A label's name, or its value."""
CAPABILITY = r"[A-Za-z0-9][A-Za-z0-9._/:+-]{0,62}"
StepId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(@[A-Za-z0-9][A-Za-z0-9._-]{0,62})?$")]
"""An action, or its instance on one device: ``restart@edge-1``."""
DeviceId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
ErrorKind = Literal["transient", "timeout", "resource", "network", "process", "coordination", "validation", "external"]
OnFailure = Literal["rollback", "stop", "continue"]


class Model(BaseModel):
    """A frozen value; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=False)


class Input(Model):
    """One value that a run is given."""

    type: Literal["string", "integer", "number", "boolean", "list", "map"]
    default: Any = None
    required: bool = False
    description: str = ""
    enum: list[Any] | None = None


class Retry(Model):
    """How often, and after which delays, an action is tried again."""

    max_attempts: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Counts the first attempt."""
    delay: Duration | None = None
    multiplier: Annotated[float, Field(ge=1, le=100)] | None = None
    max_delay: Duration | None = None
    jitter: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the delay by which it varies, up and down."""
    on: list[ErrorKind] | None = None


class Need(Model):
    """An action that must have ended before."""

    id: Slug
    require: Literal["ended", "succeeded"] = "succeeded"


class Compensation(Model):
    """The way back of an action, as declared."""

    uses: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    timeout: Duration | None = None
    retry: Retry | Literal["none"] | None = None
    after: Literal["completed", "started"] = "completed"


class Fallback(Model):
    """What is tried once when the last attempt has failed."""

    uses: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    compensate: Compensation | Literal["auto", "none"] | None = None


class Escalation(Model):
    escalate: str


class Approval(Model):
    """A person's yes."""

    reason: str
    role: str | None = None
    quorum: Annotated[int, Field(ge=1)] | None = None
    timeout: Duration | None = None
    on_timeout: Literal["deny", "approve"] | Escalation | None = None


class Labels(Model):
    labels: dict[str, str]


class ActionFields(Model):
    """What an action may say, and what ``defaults`` may say for all of them."""

    device: DeviceId | None = None
    devices: list[DeviceId] | Literal["all"] | Labels | None = None
    max_unavailable: Annotated[int, Field(ge=1)] | Annotated[str, StringConstraints(pattern=r"^\d{1,3}%$")] | None = (
        None
    )
    agent: Slug | None = None
    capabilities: list[str] | None = None
    needs: list[Slug | Need] | None = None
    when: str | bool | None = None
    approval: Approval | None = None
    timeout: Duration | Literal["adaptive"] | None = None
    retry: Retry | Literal["none", "adaptive"] | None = None
    success: str | None = None
    on_failure: OnFailure | None = None
    fallback: Fallback | None = None
    compensate: Compensation | Literal["auto", "none"] | None = None
    idempotent: bool | None = None
    breaker: str | None = None
    cache: Duration | None = None
    with_: dict[str, Any] | None = Field(default=None, alias="with")


class Action(ActionFields):
    """One thing to do."""

    id: Slug
    uses: str


class Defaults(ActionFields):
    """Fields that every action takes over unless it sets them; compensations do not."""

    uses: str | None = None


class Phase(Model):
    """Actions that run side by side; the next phase starts when all have ended."""

    name: str
    actions: list[Action] = Field(min_length=1)
    verify: str | list[str] | None = None


class SnapshotEntry(Model):
    uses: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    device: DeviceId | None = None


class Probe(Model):
    """An action that proves something and changes nothing."""

    uses: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    device: DeviceId | None = None


class Rollback(Model):
    """How a failed execution is taken back."""

    mechanism: Literal["adaptive", "compensate", "snapshot", "partial", "phased", "guided", "none"] | None = None
    actions: list[StepId] | None = None
    verify: list[Probe] | None = None
    timeout: Duration | None = None
    max_depth: Annotated[int, Field(ge=1)] | None = None


class Limits(Model):
    """Bounds of the whole execution."""

    timeout: Duration | None = None
    parallel: Annotated[int, Field(ge=1)] | None = None
    max_failures: Annotated[int, Field(ge=0)] | None = None


class Concurrency(Model):
    key: str
    limit: Annotated[int, Field(ge=1)] | None = None
    on_conflict: Literal["queue", "refuse", "join"] | None = None
    max: Annotated[str, StringConstraints(pattern=r"^\d+ in \d+(ms|s|m|h)$")] | None = None


class Strategy(Model):
    """What to do, where, in which order, how it is taken back, and how we know that it worked."""

    name: Slug
    description: str = ""
    version: str = "1"
    model: Literal["sequential", "parallel", "phased"] = "sequential"
    inputs: dict[str, Input] = Field(default_factory=dict)
    defaults: Defaults | None = None
    actions: list[Action] | None = None
    phases: list[Phase] | None = None
    snapshot: list[SnapshotEntry] | None = None
    success_criteria: list[str] = Field(default_factory=list)
    rollback: Rollback | None = None
    limits: Limits | None = None
    concurrency: Concurrency | None = None
    permissions: list[str] | None = None
    priority: Annotated[int, Field(ge=0, le=9)] | None = None
    preempt: bool | None = None

    def all_actions(self) -> list[Action]:
        """Every action in the order of the file, those of phases included."""
        if self.phases is not None:
            return [action for phase in self.phases for action in phase.actions]
        return list(self.actions or [])

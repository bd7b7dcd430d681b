"""Devices and the workers that serve them: what a worker announces, how it fares, and what is thought of it."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from executor.model.strategy import CAPABILITY, LABEL, DeviceId, Slug

PROTOCOL = 2
"""Of the messages and the ledger's keys; a cluster takes workers of its own number, and of the one before and after."""

Label = Annotated[str, StringConstraints(pattern=f"^{LABEL}$")]
"""A label's name or its value."""
Capability = Annotated[str, StringConstraints(pattern=f"^{CAPABILITY}$")]
Text = Annotated[str, StringConstraints(max_length=255)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class _Told(BaseModel):
    """Said by a worker. A newer one may say more than we know; what we know has to be right."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Announcement(_Told):
    """What a worker says of itself before it consumes."""

    devices: tuple[DeviceId, ...] = Field(max_length=10_000)
    """Empty for a coordinator."""
    agents: Mapping[DeviceId, Slug] = Field(default_factory=dict)
    """Which of its devices is an agent, and of which kind."""
    labels: Mapping[Label, Label] = Field(default_factory=dict)
    """Of all its devices."""
    capabilities: tuple[Capability, ...] = ()
    """Of all its devices."""
    actions: tuple[Text, ...] = ()
    """Action types that are installed there."""
    queues: tuple[Text, ...] = ()
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 1
    host: Text = ""
    pid: Annotated[int, Field(ge=0)] = 0
    place: Text = ""
    """Whose process ids that is one of: a run of a machine, and a namespace of it; empty: not known."""
    started: Annotated[int, Field(ge=0)] = 0
    """When its process began, in ticks since the machine did."""
    store: Text = ""
    """Id of the device's store of saved bytes: who has the same one is the same device."""
    version: Text = ""
    protocol: int = 1
    cpu_count: Annotated[int, Field(ge=0)] = 0
    memory_bytes: Annotated[int, Field(ge=0)] = 0
    disk_bytes: Annotated[int, Field(ge=0)] = 0
    """Of the file system that holds its state directory."""
    clients: tuple[Text, ...] = ()
    """Names of its connections to the server."""
    since_ms: Annotated[int, Field(ge=0)] = 0


class Vitals(_Told):
    """How a worker fares, as it says itself every second or so."""

    cpu_percent: Percent = 0.0
    """Of its host."""
    memory_percent: Percent = 0.0
    disk_percent: Percent = 0.0
    """How full the file system of its state directory is."""
    succeeded: Annotated[int, Field(ge=0)] = 0
    """Attempts since its start that did."""
    failed: Annotated[int, Field(ge=0)] = 0
    """Attempts since its start that failed or timed out."""
    recent: Annotated[int, Field(ge=0)] = 0
    """Of its last attempts, those that ended within the last minutes."""
    recent_failed: Annotated[int, Field(ge=0)] = 0
    """Those of them that failed or timed out."""
    answer_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """How long its last renewal took: the way to the ledger and back."""
    broken: Mapping[Text, Text] = Field(default_factory=dict)
    """Action types that it announced and cannot load, with the reason."""
    number: Annotated[int, Field(ge=0)] = 0
    """Of this measurement since its start: one that stands still is old."""


class HealthState(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"  # works, and something is wrong: others are preferred
    UNHEALTHY = "unhealthy"  # gets work only where nobody else can do it
    UNKNOWN = "unknown"  # nothing was heard of it


USABLE = frozenset({HealthState.HEALTHY, HealthState.DEGRADED})
"""Work goes to devices in these states first."""


class Depleted(_Told):
    """A resource of a device that is used beyond its threshold."""

    resource: str
    """``cpu``, ``memory`` or ``disk``."""
    percent: float
    threshold: float


class Health(_Told):
    """What is thought of a device."""

    state: HealthState = HealthState.UNKNOWN
    reasons: tuple[str, ...] = ()
    depleted: tuple[Depleted, ...] = ()
    since_ms: int = 0
    """Since when it is in this state."""


class Owner(_Told):
    """Which store a device has: who announced it last."""

    store: str = ""
    host: str = ""
    left_ms: int = 0
    """When its last worker went; 0 while one serves it."""


class Drained(_Told):
    """A device that is given nothing new."""

    by: str = ""
    reason: str = ""
    at_ms: int = 0


class ServingWorker(_Told):
    """A living worker, as one of those of a device."""

    incarnation: str
    host: str
    pid: int
    version: str
    concurrency: int
    seen_ms: int = 0
    vitals: Vitals | None = None


class Device(_Told):
    """A device as the ledger knows it."""

    device: str
    state: HealthState = HealthState.UNKNOWN
    reasons: tuple[str, ...] = ()
    drained: Drained | None = None
    agent: str | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    """What one of its workers has: any of them may do it."""
    actions: tuple[str, ...] = ()
    running: int = 0
    """Actions that run there."""
    concurrency: int = 0
    """How many may, over all its workers."""
    queued: int | None = None
    """Messages that wait in its queue; None: nobody could tell."""
    cpu_percent: float | None = None
    """Of the busiest of its hosts; None: not heard yet."""
    seen_ms: int = 0
    """When one of its workers was last heard, by the server's clock; 0: never."""
    silent_s: float | None = None
    """How long ago that is; None: never."""
    store: str = ""
    hosts: tuple[str, ...] = ()
    workers: tuple[ServingWorker, ...] = ()

    def told(self) -> dict[str, Any]:
        """As plain JSON, every field said."""
        return self.model_dump(mode="json")


def parse_labels(written: Iterable[str]) -> dict[str, str]:
    """Labels of ``name=value``.

    Raises:
        ValueError: one is none, or a name has two values; says what would be right.
    """
    labels: dict[str, str] = {}
    for text in written:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(LABEL, name) or not re.fullmatch(LABEL, value):
            raise ValueError(
                f"{text!r} is no label: name=value, each of letters, digits, dots, dashes, slashes and underscores, "
                "at most 63, such as zone=north"
            )
        if labels.setdefault(name, value) != value:
            raise ValueError(
                f"the label {name!r} is given twice, as {labels[name]!r} and {value!r}: a label has one value"
            )
    return labels


def parse_capabilities(written: Iterable[str]) -> tuple[str, ...]:
    """Capabilities, each once, sorted.

    Raises:
        ValueError: one is none; says what would be right.
    """
    listed = sorted(set(written))
    for text in listed:
        if not re.fullmatch(CAPABILITY, text):
            raise ValueError(
                f"{text!r} is no capability: letters, digits and . _ / : + -, at most 63, such as gpu or cuda:12"
            )
    return tuple(listed)

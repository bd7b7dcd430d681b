"""Devices and the workers that serve them: what a worker announces, how it fares, and what is thought of it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from executor.model.strategy import DeviceId, Slug

PROTOCOL = 2
"""Of the messages and the ledger's keys; a cluster takes workers of its own number, and of the one before and after."""

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
"""A label's name or its value."""
Capability = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:+-]{0,62}$")]
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
    answer_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """How long its last renewal took: the way to the ledger and back."""


class HealthState(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"  # works, and something is wrong: others are preferred
    UNHEALTHY = "unhealthy"  # gets work only where nobody else can do it
    UNKNOWN = "unknown"  # nothing was heard of it


class Health(_Told):
    """What is thought of a device."""

    state: HealthState = HealthState.UNKNOWN
    reasons: tuple[str, ...] = ()

"""The seven groups of settings, with every default.

Names and defaults are those of the design's chapter "Configuration Options", milliseconds as durations.
"""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _length(value: Any) -> Any:
    # The strategy file has its reader of durations in `executor`: this package may not import it, nor it
    # this one (other services have a `config` of their own). pydantic takes bare numbers as seconds.
    if isinstance(value, timedelta):
        return value
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h)", value) if isinstance(value, str) else None
    if found is None:
        number = re.fullmatch(r"\d+(\.\d+)?", str(value))
        hint = f": write {value}ms or {value}s" if number else ", such as 250ms, 30s, 5m or 2h"
        raise ValueError(f"a duration is text with a unit{hint}")
    seconds = float(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[found[2]]
    return timedelta(seconds=min(seconds, 1e9))


Length = Annotated[timedelta, BeforeValidator(_length), Field(ge=timedelta(0), le=timedelta(days=3650))]
Positive = Annotated[Length, Field(gt=timedelta(0))]


def _directories(value: Any) -> Any:
    listed = value.split(":") if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple)) or not listed or not all(str(each).startswith("/") for each in listed):
        raise ValueError("directories are absolute paths, with a colon between two")
    return listed


Directories = Annotated[tuple[str, ...], BeforeValidator(_directories)]


def _later(default: Any) -> Any:
    """A setting that has its name and default, and no effect yet: setting it is refused."""
    return Field(default, description="Not available yet.", json_schema_extra={"available": False})


def _field(default: Any, description: str, **bounds: Any) -> Any:
    return Field(default, description=description, **bounds)


def _every(**length: float) -> Any:
    return _field(timedelta(**length), "How often it is looked at.")


def _looks(number: int) -> Any:
    return _field(number, "So many looks in a row change the state of the device.", ge=1, le=100)


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ExecutionSettings(_Group):
    """How actions run."""

    default_timeout: Positive = _field(timedelta(seconds=30), "Longest time of one attempt at an action.")
    max_retries: int = _field(3, "Attempts at an action in all, the first one counted.", ge=1, le=1000)
    parallel_limit: int = _field(5, "Actions of one execution that run at the same time.", ge=1, le=10_000)
    batch_size: int = _later(10)
    adaptive_timeouts: bool = _later(True)
    retry_delay: Length = _field(timedelta(milliseconds=100), "Delay before the second attempt.")
    retry_multiplier: float = _field(2.0, "By what each further delay is longer.", ge=1, le=100)
    retry_max_delay: Length = _field(timedelta(seconds=30), "No delay is longer.")
    retry_jitter: float = _field(0.25, "Share by which a delay varies, up and down.", ge=0, le=1)
    timeout: Positive = _field(timedelta(hours=2), "Longest time of a whole execution.")
    fuse: bool = _field(True, "Send neighbours of a sequence on one device as one message.")
    sequence_length: int = _field(25, "Longest piece of a sequence that is published at once.", ge=1, le=1000)
    max_result_bytes: int = _field(262_144, "Largest result of an action, as JSON.", ge=1024, le=16_777_216)
    retention: Positive = _field(timedelta(hours=168), "How long a finished execution stays in the ledger.")


class RollbackSettings(_Group):
    """How failed executions are taken back."""

    enabled: bool = _field(True, "Take failed executions back.")
    snapshot_enabled: bool = _field(True, "Take the snapshots that a strategy asks for before its first action.")
    snapshot_timeout: Positive = _field(timedelta(minutes=10), "Longest time of taking, or restoring, one snapshot.")
    snapshot_roots: Directories = _field(
        ("/",), "Directories below which this device takes snapshots of files and databases in files."
    )
    choice_timeout: Positive = _field(timedelta(minutes=5), "How long a guided rollback waits for a person's choice.")
    choice_default: Literal["undo", "keep"] = _field("undo", "What a guided rollback does when nobody has chosen.")
    max_rollback_depth: int = _later(10)
    rollback_timeout: Positive = _field(
        timedelta(seconds=60), "How much longer than its compensations one by one a rollback may take."
    )
    store_max_bytes: int = _field(10 * 1024**3, "Room for saved bytes on each device.", ge=0)


class Thresholds(_Group):
    """Where monitoring raises its voice."""

    cpu: int = _field(80, "A device whose host uses more percent of its CPU is degraded.", ge=1, le=100)
    memory: int = _field(80, "The same for memory.", ge=1, le=100)
    disk: int = _field(90, "The same for the file system of its state directory.", ge=1, le=100)
    latency: Positive = _field(timedelta(seconds=1), "A device whose renewals take longer is degraded.")


class MonitoringSettings(_Group):
    """How executions are watched."""

    interval: Positive = _field(timedelta(seconds=1), "How often live views are drawn anew.")
    detailed_metrics: bool = _later(True)
    anomaly_detection: bool = _later(True)
    thresholds: Thresholds = Thresholds()


class SecuritySettings(_Group):
    """What has to be allowed."""

    strict_validation: bool = _later(True)
    user_approval_timeout: Positive = _later(timedelta(minutes=5))
    audit_level: Literal["minimal", "standard", "detailed"] = _later("detailed")


class HeartbeatCheck(_Group):
    """Does a worker renew?"""

    interval: Positive = _every(milliseconds=500)
    timeout: Positive = _field(timedelta(seconds=1), "The longest silence.")
    retries: int = _looks(2)


class CapabilityCheck(_Group):
    """Can a worker do what it announced?"""

    interval: Positive = _every(seconds=10)
    timeout: Positive = _field(timedelta(seconds=60), "A worker that said nothing for so long is degraded.")
    retries: int = _looks(1)


class PerformanceCheck(_Group):
    """Do a worker's attempts succeed, and does the ledger answer it in time?"""

    interval: Positive = _every(seconds=5)
    timeout: Positive = _field(timedelta(seconds=15), "A worker that did not say for so long is degraded.")
    retries: int = _looks(2)


class ResourceCheck(_Group):
    """Has a worker's host CPU, memory and disk left?"""

    interval: Positive = _every(seconds=5)
    timeout: Positive = _field(timedelta(seconds=15), "A worker that did not say for so long is degraded.")
    retries: int = _looks(3)


class DistributedSettings(_Group):
    """Devices, and how their death is noticed."""

    enabled: bool = _field(
        True, "Spread executions over devices. Off: actions without a device share one, and `devices` is refused."
    )
    min_devices: int = _field(1, "With fewer living devices no execution begins.", ge=1, le=10_000)
    max_devices: int = _field(
        10, "Over how many devices the actions of one execution are spread that name none.", ge=1, le=10_000
    )
    synchronization_interval: Positive = _field(
        timedelta(seconds=5), "How long devices are waited for that were given a document."
    )
    device_failure_threshold: int = _field(
        3, "Devices of one fan-out that may fail under `on_failure: continue`; one more fails the execution.", ge=0
    )
    device_wait: Length = _field(timedelta(seconds=60), "How long an action waits for a device without a worker.")
    lease_renewal: Positive = _field(timedelta(milliseconds=500), "How often a worker renews what it runs.")
    lease_silence: Positive = _field(timedelta(seconds=2), "A worker that did not renew for so long is dead.")
    gone_silence: Positive = _field(timedelta(milliseconds=750), "The same for one whose connections are gone too.")
    grace: Length = _field(
        timedelta(seconds=25), "How long running actions may take to finish when a worker is told to end."
    )
    parent_silence: Positive = _field(timedelta(milliseconds=1500), "A parent kills a child that stood still so long.")
    scale_min: int = _field(
        1, "Fewest worker processes of a device of `rex up`, when it scales by itself.", ge=1, le=64
    )
    scale_max: int = _field(1, "Most of them; not above scale_min: it does not scale by itself.", ge=1, le=64)
    scale_depth: int = _field(10, "Messages that wait, for each process, from which on there are too few.", ge=1)
    scale_wait: Positive = _field(timedelta(seconds=2), "When an action waits longer for a worker, there are too few.")
    scale_idle: Positive = _field(timedelta(seconds=30), "After so long with room to spare one process ends.")
    health_heartbeat: HeartbeatCheck = HeartbeatCheck()
    health_capability: CapabilityCheck = CapabilityCheck()
    health_performance: PerformanceCheck = PerformanceCheck()
    health_resource: ResourceCheck = ResourceCheck()
    health_failures: int = _field(
        50, "A device of whose last attempts so many percent failed is degraded.", ge=1, le=100
    )
    durability: Literal["process", "power"] = _field(
        "process", "What the ledger survives: the death of processes, or a power cut as well (slower)."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale_max < self.scale_min:
            raise ValueError("scale_max must not be below scale_min")
        if not self.lease_renewal < self.gone_silence <= self.lease_silence:
            raise ValueError("lease_renewal must be below gone_silence, and that not above lease_silence")
        if not self.lease_renewal < self.parent_silence <= self.lease_silence:
            raise ValueError("parent_silence must lie between lease_renewal and lease_silence")
        return self


class ResourcesSettings(_Group):
    """What is reserved for an execution."""

    pooling: bool = _later(True)
    preallocation: bool = _later(True)
    release_delay: Length = _later(timedelta(seconds=1))


class UserInteractionSettings(_Group):
    """How people are asked and told."""

    enabled: bool = _later(True)
    notification_level: Literal["all", "important", "critical"] = _later("important")
    default_approval_behavior: Literal["ask", "auto-approve", "auto-deny"] = _later("ask")

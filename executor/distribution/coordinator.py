"""Which device does what, and what became of it: the room for all that spans several devices.

Messages go over Celery and what is true stands in the ledger, so nothing here waits for a device: an execution that is
handed over is carried out by coordinators and workers, whatever becomes of who handed it over.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from config.settings import Settings
from executor.distribution.failing import Fate, fates_of
from executor.distribution.failover import place_with
from executor.distribution.placement import Fleet
from executor.model.plan import Plan, Step
from executor.model.strategy import Strategy
from executor.ports import Ledger, Queues
from executor.report import report
from executor.states import synchronize_state

Json = dict[str, Any]


class Planned(Protocol):
    """What planning has made of a strategy."""

    @property
    def plan(self) -> Plan: ...
    @property
    def steps(self) -> dict[str, Step]: ...
    @property
    def parallel(self) -> int: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def rollback(self) -> str: ...
    @property
    def max_failures(self) -> int | None: ...


@dataclass(frozen=True)
class Share:
    """What one action is given to, and why."""

    action: str
    device: str
    stage: int
    why: str
    """For people."""
    movable: bool
    """While it has not begun, any other device that can do it does as well."""
    served: bool
    """Whether a living worker serves that device now; else it waits for one."""


@dataclass(frozen=True)
class Distribution:
    """Which device does what."""

    strategy: str
    shares: tuple[Share, ...]
    """In the order of the plan."""
    planned: Planned

    @property
    def devices(self) -> dict[str, tuple[str, ...]]:
        """The actions of each device."""
        found: dict[str, list[str]] = {}
        for share in self.shares:
            found.setdefault(share.device, []).append(share.action)
        return {device: tuple(found[device]) for device in sorted(found)}

    @property
    def unserved(self) -> tuple[str, ...]:
        """Devices that nobody serves now: what they are to do waits."""
        return tuple(sorted({share.device for share in self.shares if not share.served}))


@dataclass(frozen=True)
class Context:
    """For what a distribution is carried out."""

    execution: str
    inputs: Mapping[str, Any]
    context: Mapping[str, Any]


class DistributedCoordinator:
    """Coordinates executions across devices."""

    def __init__(self, ledger: Ledger, settings: Settings, queues: Queues | None = None) -> None:
        """
        Args:
            ledger: the state of executions and devices.
            settings: defaults and bounds.
            queues: tells how many messages wait for a device; None: they lie on the ledger's own server.
        """
        self._ledger = ledger
        self._settings = settings
        self._queues = queues or ledger

    def fleet(self, *, without: str | None = None) -> Fleet:
        """The devices as they are now; one for each planning.

        Args:
            without: a device that is given nothing.
        """
        workers = self._ledger.workers()
        return Fleet(
            workers,
            self._ledger.busy(),
            queued=self._queues.queued({device for worker in workers.values() for device in worker.devices}),
            health=self._ledger.health(),
            drained={*self._ledger.drained(), *([] if without is None else [without])},
        )

    def distribute_execution(
        self, strategy: Strategy, planned: Planned, devices: Iterable[str] | None = None
    ) -> Distribution:
        """Which device does what, and why. The choice was made when it was planned; this says it.

        Args:
            strategy: what was planned.
            planned: its plan, with a device for every step.
            devices: those that are served now; None: it is not asked, and none is said to lack a worker.
        """
        served = None if devices is None else set(devices)
        shares = [
            _share(planned.steps[name], number, served)
            for number, stage in enumerate(planned.plan.stages)
            for name in stage.steps
        ]
        return Distribution(strategy.name, tuple(shares), planned)

    def coordinate_execution(self, distribution: Distribution, context: Context) -> Json:
        """Hand an accepted execution over to its devices: its plan is written, its first stage opened.

        Returns:
            ``execution_id``; ``created``, False where that was done before; ``devices`` with the actions of each.
        """
        planned = distribution.planned
        created = self._ledger.create(
            context.execution,
            planned.plan,
            planned.steps,
            inputs=dict(context.inputs),
            context=dict(context.context),
            parallel=planned.parallel,
            timeout_s=planned.timeout_s,
            rollback=planned.rollback,
            max_failures=planned.max_failures,
        )
        devices = {device: list(actions) for device, actions in distribution.devices.items()}
        return {"execution_id": context.execution, "created": created, "devices": devices}

    def synchronize_state(
        self, devices: Iterable[str] | None, state: object, timeout_s: float | None = None, execution: str | None = None
    ) -> Json:
        """Give devices a document, and say who has it; as `executor.states.synchronize_state`.

        Args:
            devices: their ids; None: all that are served now.
            state: a map of JSON values.
            timeout_s: how long they are waited for; None: ``distributed.synchronization_interval``.
            execution: for which this is done.
        """
        wait_s = self._settings.distributed.synchronization_interval.total_seconds() if timeout_s is None else timeout_s
        return synchronize_state(self._ledger, devices, state, timeout_s=wait_s, execution=execution)

    def handle_device_failure(self, failed: str, distribution: Distribution, context: Context) -> dict[str, Fate]:
        """What becomes of the actions of a device that is gone, by action: what moves where, what waits, what is left
        for a person. Those that have ended are left out.

        It is said here and done by the watchdog, step by step, by the same rules: nothing has to be called for it.
        """
        planned, place = distribution.planned, place_with(self.fleet(without=failed))
        found: dict[str, Fate] = {}
        for stage in planned.plan.stages:
            rows = self._ledger.actions(context.execution, 0, stage.steps)
            found |= fates_of(stage, planned.steps, rows, failed, place)
        return found

    def collect_results(self, devices: Iterable[str] | None, execution: str) -> dict[str, dict[str, Json]]:
        """By device, each of its actions with ``status``, ``result``, ``error``, ``attempts``, ``undo`` and ``effect``:
        what is known of it (``none``, ``started``, ``unknown`` or ``completed``).

        Args:
            devices: whose; None: of all that the execution is for. One that had nothing to do has no actions.
            execution: its id; it may still run.

        Raises:
            UnknownExecution: it was never accepted, or retention has removed it.
        """
        told = report(self._ledger, execution)["actions"]
        rows = self._ledger.actions(execution, 0, told)
        found: dict[str, dict[str, Json]] = {device: {} for device in devices or ()}
        for name, action in told.items():
            if devices is None or action["device"] in found:
                kept = {key: action[key] for key in ("status", "result", "error", "attempts", "undo")}
                found.setdefault(action["device"], {})[name] = {**kept, "effect": rows[name].get("effect", "none")}
        return found


def _share(step: Step, stage: int, served: set[str] | None) -> Share:
    why = step.placed or (f"instance of {step.fan_out.of}" if step.fan_out else "its strategy names the device")
    return Share(step.id, step.device, stage, why, step.movable, served is None or step.device in served)

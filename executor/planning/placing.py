"""Where the steps of a plan run: as the strategy says, else as the fleet advises."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from config.settings import Settings
from executor.model.errors import NoDevice, Problem, StrategyInvalid
from executor.model.fan_out import instance_id
from executor.model.placement import Beside, Devices, Placed, Wanted
from executor.model.plan import FanOut, Step
from executor.model.strategy import Action, Labels, Probe, Strategy
from executor.planning.merging import needs_of, path_of


@dataclass(frozen=True)
class Instance:
    """One step of a fan-out."""

    id: str
    device: str
    fan_out: FanOut


class Places:
    """Chooses the devices of one plan."""

    def __init__(self, strategy: Strategy, settings: Settings, fleet: Callable[[], Devices]) -> None:
        """
        Args:
            strategy: with its defaults merged into its actions.
            settings: how far placement may spread.
            fleet: the devices.
        """
        self._strategy = strategy
        self._settings = settings.distributed
        self._fleet = fleet
        self._default = strategy.defaults.device if strategy.defaults else None
        self._prepare()

    @cached_property
    def fleet(self) -> Devices:
        return self._fleet()

    def _prepare(self) -> None:
        """Say beforehand what will be asked; where nothing is, the fleet is not looked at."""
        actions, probes = self._strategy.all_actions(), self._probes()
        wanted = [wanted_by(one) for one in actions if one.device is None and one.devices is None]
        wanted += [probe_wants(one) for one in probes if self.of_probe(one) is None]
        least = self._settings.min_devices
        if wanted or least > 1:
            named = {one.device for one in actions if one.device is not None}
            most = self._settings.max_devices if self._settings.enabled else 1
            self.fleet.prepare(list(dict.fromkeys(wanted)), named=named, least=least, most=most)

    def _probes(self) -> list[Probe]:
        return self._strategy.rollback.verify or [] if self._strategy.rollback else []

    def of_probe(self, probe: Probe) -> str | None:
        """The device that is said for a probe; None: any."""
        return probe.device or self._default

    # -- one device ---------------------------------------------------------------------------------------------------

    def place(self, action: Action, beside: list[Beside], *, reach: bool, in_turn: bool) -> dict[str, Any]:
        """What a step says of its device; `reach`: others reach the same thing, whichever of its calls has begun."""
        if action.device is not None:
            self._check(action, [action.device])
            return {"device": action.device}
        placed = self.fleet.place(wanted_by(action), beside, in_turn=in_turn)
        return {
            **placed_fields(placed),
            "capabilities": tuple(action.capabilities or ()),
            "reach": reach,
        }

    def _check(self, action: Action, devices: list[str]) -> None:
        """Raises StrategyInvalid where a living device does not announce what is asked of it."""
        if action.capabilities:
            for device in devices:
                if lacks := self.fleet.lacks(device, action.capabilities):
                    remedy = "name another device, or leave the choice to rex: without `device` it takes one that does"
                    raise StrategyInvalid(
                        [Problem(lacks, path_of(self._strategy, action, "capabilities"), remedy=remedy)]
                    )

    # -- several ------------------------------------------------------------------------------------------------------

    def instances(self, action: Action) -> list[Instance]:
        """The instances of a fan-out.

        Raises:
            StrategyInvalid: there is no device for it, or fanning out is switched off.
        """
        if not self._settings.enabled:
            remedy = "switch distributed.enabled on, or name one `device`"
            message = "`devices` is refused: distributed.enabled is false"
            raise StrategyInvalid([Problem(message, path_of(self._strategy, action, "devices"), remedy=remedy)])
        devices = self._devices(action)
        at_once = _at_once(action.max_unavailable, len(devices))
        shared = FanOut(of=action.id, at_once=at_once, bearable=self._settings.device_failure_threshold)
        return [Instance(instance_id(action.id, device), device, shared) for device in devices]

    def _devices(self, action: Action) -> list[str]:
        if isinstance(action.devices, list):
            self._check(action, action.devices)
            return action.devices
        labels = action.devices.labels if isinstance(action.devices, Labels) else {}
        try:
            return self.fleet.select(labels, action.agent, action.capabilities or [])
        except NoDevice as error:
            raise StrategyInvalid([Problem(str(error), path_of(self._strategy, action, "devices"))]) from None


def wanted_by(action: Action) -> Wanted:
    """What an action asks of its device: everything that it may do must be installed there."""
    calls: list[Any] = [action, action.compensate, action.fallback]
    calls.append(action.fallback.compensate if action.fallback else None)
    types = [call.uses for call in calls if call is not None and hasattr(call, "uses")]
    return Wanted(tuple(dict.fromkeys(types)), action.agent, tuple(action.capabilities or ()))


def probe_wants(probe: Probe) -> Wanted:
    """What a probe asks of its device."""
    return Wanted((probe.uses,))


def placed_fields(placed: Placed) -> dict[str, Any]:
    """What a step says of a device that was chosen for it."""
    return {"device": placed.device, "placed": placed.why, "movable": True}


def related(action: Action, step_reads: tuple[str, ...], made: Mapping[str, Step], before: Step | None) -> list[Beside]:
    """Devices beside which an action is placed, the most related first.

    Args:
        action: it.
        step_reads: actions whose results it reads.
        made: the steps so far.
        before: the one before it in a sequence.
    """
    return list(_related(action, step_reads, made, before))


def _related(
    action: Action, step_reads: tuple[str, ...], made: Mapping[str, Step], before: Step | None
) -> Iterator[Beside]:
    for need, _ in needs_of(action):
        if need in made:
            yield Beside(made[need].device, f"{need}, which it needs")
    for name in step_reads:
        if name in made:
            yield Beside(made[name].device, f"{name}, which it reads")
    if before is not None:
        yield Beside(before.device, f"{before.id}, which comes before it")


def _at_once(said: int | str | None, devices: int) -> int:
    """How many devices may be at it at once; 0: all."""
    if said is None:
        return 0
    at_once = max(1, devices * int(said.removesuffix("%")) // 100) if isinstance(said, str) else said
    return 0 if at_once >= devices else at_once

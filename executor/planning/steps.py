"""Actions -> steps: defaults from the settings, every field said."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Literal

from config.settings import Settings
from executor.action import ActionType
from executor.action import WayBack as TypesWayBack
from executor.expressions import Reads as Read
from executor.expressions import reads_of, reads_of_condition
from executor.model.errors import Problem, StrategyInvalid
from executor.model.placement import Beside
from executor.model.plan import Call, Fallback, Reads, RetryRule, Step, WayBack
from executor.model.strategy import Action, Compensation, Probe, Retry, SnapshotEntry, Strategy
from executor.planning.merging import needs_of
from executor.planning.placing import Places, placed_fields, probe_wants, related
from executor.ports import ActionCatalogue


class Steps:
    """Makes the steps of one plan."""

    def __init__(self, strategy: Strategy, settings: Settings, catalogue: ActionCatalogue, places: Places) -> None:
        """
        Args:
            strategy: with its defaults merged into its actions.
            settings: every default that it does not say.
            catalogue: the action types.
            places: where the steps run.
        """
        self._strategy = strategy
        self._settings = settings
        self._catalogue = catalogue
        self._places = places
        self._in_turn = strategy.model == "sequential" and strategy.phases is None
        self._before: Step | None = None
        self._several = frozenset(action.id for action in strategy.all_actions() if action.devices is not None)
        self.made: dict[str, Step] = {}

    def all_of(self, actions: Sequence[Action]) -> list[Step]:
        """The steps of actions that run side by side: of a fan-out one for each of its devices."""
        made: list[Step] = []
        for action in actions:
            made += [self.make(action)] if action.devices is None else self._fanned_out(action)
        return made

    def _fanned_out(self, action: Action) -> list[Step]:
        first: Step | None = None
        made = []
        for one in self._places.instances(action):
            about = {"id": one.id, "device": one.device, "fan_out": one.fan_out}
            # they differ in nothing else, and making one costs more than copying it
            first = self._step(action, about) if first is None else first.model_copy(update=about)
            made.append(first)
        self.made.update({step.id: step for step in made})
        return made

    def make(self, action: Action) -> Step:
        """The step of an action that runs on one device."""
        step = self._step(action, {"id": action.id})
        self._before = step if self._in_turn else None
        self.made[step.id] = step
        return step

    def _step(self, action: Action, about: dict[str, Any]) -> Step:
        kind = self._catalogue.get(action.uses)
        call = self._call(kind, action.with_ or {})
        fallback = self._fallback(action)
        when = action.when if isinstance(action.when, str) else {True: None, False: "false", None: None}[action.when]
        reads = call.reads | (self._reads(reads_of_condition(when)) if when else Reads())
        if fallback is not None:
            reads |= fallback.call.reads
        if "device" not in about:
            beside = related(action, reads.actions, self.made, self._before)
            reach = all(self._catalogue.get(one.uses).reach(one.with_) for one in _calls(call, fallback))
            about = {**about, **self._places.place(action, beside, reach=reach, in_turn=self._in_turn)}
        return Step(
            **about,
            agent=action.agent,
            call=call,
            way_back=self._way_back(kind, call, action.compensate),
            timeout_s=self._seconds(action.timeout),
            retry=self._retry(action.retry),
            when=when,
            success=action.success,
            on_failure=action.on_failure or "rollback",
            fallback=fallback,
            idempotent=kind.repeatable(call.with_) if action.idempotent is None else action.idempotent,
            needs=tuple(needs_of(action)),
            reads=reads,
        )

    def snapshots(self, entries: Sequence[SnapshotEntry]) -> list[Step]:
        """The steps that save what ``snapshot`` names; asked for after the actions, whose devices they go by.

        Raises:
            StrategyInvalid: it is not clear on which device one is taken.
        """
        taken = []
        for number, entry in enumerate(entries, 1):
            kind = self._catalogue.get(entry.uses)
            call = self._call(kind, entry.with_)
            timeout_s = self._settings.rollback.snapshot_timeout.total_seconds()
            way_back = self._way_back(kind, call, None).model_copy(update={"timeout_s": timeout_s})
            taken.append(
                Step(
                    id=f"snapshot/{number}",
                    device=entry.device or self._snapshot_device(number - 1),
                    call=call,
                    way_back=way_back,
                    purpose="snapshot",
                    timeout_s=timeout_s,
                    retry=self._retry(None),
                    idempotent=True,
                    reads=call.reads,
                )
            )
        self.made.update({step.id: step for step in taken})
        return taken

    @property
    def _default_device(self) -> str | None:
        return self._strategy.defaults.device if self._strategy.defaults else None

    def _snapshot_device(self, index: int) -> str:
        if self._default_device is not None:
            return self._default_device
        devices = sorted({step.device for step in self.made.values()})
        if len(devices) == 1:
            return devices[0]
        message = f"the actions run on {len(devices)} devices ({', '.join(devices[:5])}), and this names none of them"
        raise StrategyInvalid([Problem(message, f"snapshot[{index}]", remedy="write `device:` beside `uses:`")])

    def probes(self, probes: Sequence[Probe]) -> Iterator[Step]:
        """The steps of ``rollback.verify``: they prove something and change nothing."""
        for number, probe in enumerate(probes, 1):
            kind = self._catalogue.get(probe.uses)
            call = self._call(kind, probe.with_)
            yield Step(
                **self._place_of(probe, kind),
                id=f"verify/{number}",
                call=call,
                purpose="verify",
                timeout_s=self._seconds(None),
                on_failure="continue",
                reads=call.reads,
            )

    def _place_of(self, probe: Probe, kind: ActionType) -> dict[str, Any]:
        device = self._places.of_probe(probe)
        if device is not None:
            return {"device": device}
        before = [Beside(self._before.device, "the last action")] if self._before else []
        placed = self._places.fleet.place(probe_wants(probe), before, in_turn=True)
        return {**placed_fields(placed), "reach": kind.reach(probe.with_)}

    def _call(self, kind: ActionType, with_: dict[str, Any]) -> Call:
        return Call(uses=kind.uses, with_=with_, reads=self._reads(reads_of(with_, kind.conditions)))

    def _way_back(self, kind: ActionType, call: Call, said: Compensation | Literal["auto", "none"] | None) -> WayBack:
        if said == "none":
            return WayBack(rule="none")
        if isinstance(said, Compensation):
            own_kind = self._catalogue.get(said.uses)
            return WayBack(
                rule=said.after,
                call=self._call(own_kind, said.with_),
                idempotent=own_kind.repeatable(said.with_),
                timeout_s=self._seconds(said.timeout),
                retry=self._retry(said.retry),
                reach=own_kind.reach(said.with_),
            )
        reach = kind.reach(call.with_)
        own: dict[TypesWayBack, WayBack] = {
            TypesWayBack.RESTORES: WayBack(rule="restores", call=call, reach=reach),
            TypesWayBack.COMPENSATES: WayBack(rule="compensates", call=call, reach=reach),
            TypesWayBack.NOTHING_CHANGED: WayBack(rule="nothing"),
            TypesWayBack.DECLARED: WayBack(rule="lacking", local=kind.local),
        }
        found = own[kind.way_back(call.with_)]
        return found.model_copy(update={"timeout_s": self._seconds(None), "retry": self._retry(None)})

    def _fallback(self, action: Action) -> Fallback | None:
        if action.fallback is None:
            return None
        kind = self._catalogue.get(action.fallback.uses)
        call = self._call(kind, action.fallback.with_)
        return Fallback(call=call, way_back=self._way_back(kind, call, action.fallback.compensate))

    def _seconds(self, said: timedelta | str | None) -> float:
        length = said if isinstance(said, timedelta) else self._settings.execution.default_timeout
        return length.total_seconds()

    def _retry(self, said: Retry | str | None) -> RetryRule:
        if said == "none":
            return RetryRule(max_attempts=1)
        retry = said if isinstance(said, Retry) else Retry()
        defaults = self._settings.execution

        def seconds(value: timedelta | None, default: timedelta) -> float:
            return (default if value is None else value).total_seconds()

        return RetryRule(
            max_attempts=retry.max_attempts or defaults.max_retries,
            delay_s=seconds(retry.delay, defaults.retry_delay),
            multiplier=defaults.retry_multiplier if retry.multiplier is None else retry.multiplier,
            max_delay_s=seconds(retry.max_delay, defaults.retry_max_delay),
            jitter=defaults.retry_jitter if retry.jitter is None else retry.jitter,
            on=tuple(retry.on) if retry.on is not None else ("transient", "timeout", "resource"),
        )

    def _reads(self, read: Read) -> Reads:
        return Reads(
            actions=tuple(sorted(read.actions)),
            fan_outs=tuple(sorted(read.actions & self._several)),
            inputs=read.inputs,
            context=read.context,
        )


def _calls(call: Call, fallback: Fallback | None) -> list[Call]:
    """What may have begun of a step, when nobody can be asked."""
    return [call] if fallback is None else [call, fallback.call]

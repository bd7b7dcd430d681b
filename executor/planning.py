"""Strategy -> plan: which steps, in which messages, in which stages, on which devices.

Pure: the same strategy, settings and placement give the same plan.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from config.settings import Settings
from executor.action import ActionType
from executor.action import WayBack as TypesWayBack
from executor.expressions import Reads as Read
from executor.expressions import reads_of, reads_of_condition
from executor.model.errors import Problem, StrategyInvalid
from executor.model.levels import levels
from executor.model.plan import Call, Fallback, Plan, Reads, RetryRule, Stage, Step, WayBack, group, sequence
from executor.model.strategy import Action, Compensation, Need, Probe, Retry, SnapshotEntry, Strategy
from executor.ports import ActionCatalogue

Placement = Callable[[str, str | None, str | None], str]
"""Chooses a device: given an action type, the device that was chosen before in the sequence, if any, and the kind of
agent that it must be, if any."""


@dataclass(frozen=True)
class Planned:
    """A plan, and the bounds of its execution."""

    plan: Plan
    steps: dict[str, Step]
    parallel: int
    timeout_s: float
    rollback: str
    """A mechanism, or none."""
    max_failures: int | None

    @property
    def devices(self) -> list[str]:
        """Devices that the plan needs, sorted."""
        return sorted({step.device for step in self.steps.values()})


def make_plan(strategy: Strategy, settings: Settings, catalogue: ActionCatalogue, place: Placement) -> Planned:
    """The plan of a valid strategy.

    Raises:
        NoDevice: whatever `place` raises for an action type that no device offers.
        StrategyInvalid: it is not clear on which device a snapshot is to be taken.
    """
    builder = _Steps(strategy, settings, catalogue, place)
    stages = list(_stages(strategy, settings, builder))
    if strategy.snapshot and settings.rollback.snapshot_enabled:
        stages.insert(0, group(builder.snapshots(strategy.snapshot), "snapshot"))
    limits, rollback = strategy.limits, strategy.rollback
    parallel = limits.parallel if limits and limits.parallel else settings.execution.parallel_limit
    mechanism = (rollback.mechanism if rollback else None) or "adaptive"
    timeout = limits.timeout if limits and limits.timeout else settings.execution.timeout
    return Planned(
        plan=Plan(
            stages=tuple(stages),
            strategy=strategy.name,
            parallel=parallel,
            timeout_s=timeout.total_seconds(),
            success_criteria=tuple(strategy.success_criteria),
            rollback_mechanism=mechanism,
            rollback_actions=tuple(rollback.actions or ()) if rollback else (),
            rollback_timeout_s=rollback.timeout.total_seconds() if rollback and rollback.timeout else None,
            rollback_verify=tuple(builder.probes(rollback.verify or [] if rollback else [])),
        ),
        steps=builder.made,
        parallel=parallel,
        timeout_s=timeout.total_seconds(),
        rollback=mechanism if settings.rollback.enabled else "none",
        max_failures=limits.max_failures if limits else None,
    )


def _stages(strategy: Strategy, settings: Settings, builder: "_Steps") -> Iterator[Stage]:
    if strategy.phases is not None:
        for phase in strategy.phases:
            verify = [phase.verify] if isinstance(phase.verify, str) else phase.verify or []
            levels = list(_levels(phase.actions))
            for number, level in enumerate(levels, 1):
                last = number == len(levels)
                yield group([builder.make(a) for a in level], phase.name, verify if last else ())
    elif strategy.model == "sequential":
        yield from sequence(
            [builder.make(action) for action in strategy.actions or []],
            length=settings.execution.sequence_length,
            fuse=settings.execution.fuse,
        )
    else:
        for level in _levels(strategy.actions or []):
            yield group([builder.make(action) for action in level])


def _levels(actions: Sequence[Action]) -> Iterator[list[Action]]:
    """Actions in levels; needs outside `actions` are met before."""
    names = {action.id for action in actions}
    level = levels({action.id: [need for need, _ in needs_of(action) if need in names] for action in actions})
    for number in range(max(level.values(), default=-1) + 1):
        yield [action for action in actions if level[action.id] == number]


def needs_of(action: Action) -> list[tuple[str, bool]]:
    """The needs of an action: id, and whether it is enough that it ended."""
    return [
        (need.id, need.require == "ended") if isinstance(need, Need) else (need, False) for need in action.needs or []
    ]


class _Steps:
    """Makes steps of actions: defaults merged, every field said."""

    def __init__(self, strategy: Strategy, settings: Settings, catalogue: ActionCatalogue, place: Placement) -> None:
        self._defaults = strategy.defaults.model_dump(exclude_none=True, by_alias=False) if strategy.defaults else {}
        self._strategy = strategy
        self._settings = settings
        self._catalogue = catalogue
        self._place = place
        self._near: str | None = None
        self.made: dict[str, Step] = {}

    def make(self, action: Action) -> Step:
        action = self._merged(action)
        kind = self._catalogue.get(action.uses)
        device = action.device or self._place(action.uses, self._near, action.agent)
        if self._strategy.model == "sequential":
            self._near = device
        call = self._call(kind, action.with_ or {})
        fallback = self._fallback(action)
        when = action.when if isinstance(action.when, str) else {True: None, False: "false", None: None}[action.when]
        reads = call.reads | (_as_reads(reads_of_condition(when)) if when else Reads())
        if fallback is not None:
            reads |= fallback.call.reads
        step = Step(
            id=action.id,
            device=device,
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
        self.made[step.id] = step
        return step

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
                id=f"verify/{number}",
                device=probe.device or self._default_device or self._place(probe.uses, self._near, None),
                call=call,
                purpose="verify",
                timeout_s=self._seconds(None),
                on_failure="continue",
                reads=call.reads,
            )

    def _merged(self, action: Action) -> Action:
        said = {name: value for name in action.model_fields_set if (value := getattr(action, name)) is not None}
        filled = {name: value for name, value in self._defaults.items() if name not in said and name != "uses"}
        if not filled:
            return action
        return action.model_copy(
            update={name: getattr(self._strategy.defaults, name) for name in filled},
        )

    def _call(self, kind: ActionType, with_: dict[str, Any]) -> Call:
        return Call(uses=kind.uses, with_=with_, reads=_as_reads(reads_of(with_, kind.conditions)))

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
            )
        own: dict[TypesWayBack, WayBack] = {
            TypesWayBack.RESTORES: WayBack(rule="restores", call=call),
            TypesWayBack.COMPENSATES: WayBack(rule="compensates", call=call),
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


def _as_reads(read: Read) -> Reads:
    return Reads(actions=tuple(sorted(read.actions)), inputs=read.inputs, context=read.context)

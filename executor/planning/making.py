"""The shape of a plan: stages made of steps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from config.settings import Settings
from executor.model.errors import Problem, StrategyInvalid
from executor.model.levels import levels
from executor.model.placement import Devices
from executor.model.plan import Plan, Stage, Step, group, sequence
from executor.model.strategy import Action, Strategy
from executor.planning.merging import merged, needs_of
from executor.planning.placing import Places
from executor.planning.steps import Steps
from executor.ports import ActionCatalogue

MAX_STEPS = 20_000
"""Of one plan: a fan-out counts with each of its devices."""


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


def make_plan(
    strategy: Strategy, settings: Settings, catalogue: ActionCatalogue, fleet: Callable[[], Devices]
) -> Planned:
    """The plan of a valid strategy.

    Args:
        strategy: it.
        settings: defaults and bounds.
        catalogue: the action types.
        fleet: the devices; asked for only when a choice is left to us.

    Raises:
        NoDevice: too few devices live, or none can do what an action asks.
        StrategyInvalid: it is not clear on which device a snapshot is to be taken; a fan-out has no device, or may not
            be; a named device does not announce what its action asks.
    """
    whole = strategy.model_copy(update=_with_defaults(strategy))
    places = Places(whole, settings, fleet)
    builder = Steps(whole, settings, catalogue, places)
    stages = list(_stages(whole, settings, builder))
    if len(builder.made) > MAX_STEPS:
        message = f"on their devices the actions are {len(builder.made):,} steps; at most {MAX_STEPS:,} are possible"
        raise StrategyInvalid([Problem(message, "actions", remedy="split the strategy, or name fewer devices")])
    if strategy.snapshot and settings.rollback.snapshot_enabled:
        stages.insert(0, group(builder.snapshots(strategy.snapshot), "snapshot"))
    limits, rollback = strategy.limits, strategy.rollback
    parallel = limits.parallel if limits and limits.parallel else settings.execution.parallel_limit
    mechanism = (rollback.mechanism if rollback else None) or "adaptive"
    timeout = limits.timeout if limits and limits.timeout else settings.execution.timeout
    plan = Plan(
        stages=tuple(stages),
        strategy=strategy.name,
        parallel=parallel,
        timeout_s=timeout.total_seconds(),
        success_criteria=tuple(strategy.success_criteria),
        rollback_mechanism=mechanism,
        rollback_actions=tuple(rollback.actions or ()) if rollback else (),
        rollback_timeout_s=rollback.timeout.total_seconds() if rollback and rollback.timeout else None,
        rollback_verify=tuple(builder.probes(rollback.verify or [] if rollback else [])),
    )
    _check_named(plan, builder.made)
    return Planned(
        plan=plan,
        steps=builder.made,
        parallel=parallel,
        timeout_s=timeout.total_seconds(),
        rollback=mechanism if settings.rollback.enabled else "none",
        max_failures=limits.max_failures if limits else None,
    )


def _check_named(plan: Plan, steps: dict[str, Step]) -> None:
    """Instances that ``rollback.actions`` names are only known to be there now."""
    for index, name in enumerate(plan.rollback_actions):
        if name not in steps and name not in plan.fan_outs:
            of = plan.fan_outs.get(name.partition("@")[0], ())
            raise StrategyInvalid([Problem(
                f"there is no {name!r}", f"rollback.actions[{index}]",
                remedy=f"there is {', '.join(of[:12]) or 'no such fan-out'}",
            )])  # fmt: skip


def _with_defaults(strategy: Strategy) -> dict[str, object]:
    """The lists of actions with every field that they take over."""
    if strategy.phases is not None:
        filled = [[merged(one, strategy.defaults) for one in phase.actions] for phase in strategy.phases]
        pairs = zip(strategy.phases, filled, strict=True)
        return {"phases": [phase.model_copy(update={"actions": actions}) for phase, actions in pairs]}
    return {"actions": [merged(action, strategy.defaults) for action in strategy.actions or []]}


def _stages(strategy: Strategy, settings: Settings, builder: Steps) -> Iterator[Stage]:
    if strategy.phases is not None:
        for phase in strategy.phases:
            verify = [phase.verify] if isinstance(phase.verify, str) else phase.verify or []
            listed = list(_levels(phase.actions))
            for number, level in enumerate(listed, 1):
                last = number == len(listed)
                yield group(builder.all_of(level), phase.name, verify if last else ())
    elif strategy.model == "sequential":
        yield from _in_turn(strategy.actions or [], settings, builder)
    else:
        for level in _levels(strategy.actions or []):
            yield group(builder.all_of(level))


def _in_turn(actions: Sequence[Action], settings: Settings, builder: Steps) -> Iterator[Stage]:
    """Sequences, cut where an action fans out: its instances run side by side."""
    length, fuse = settings.execution.sequence_length, settings.execution.fuse
    waiting: list[Step] = []
    for action in actions:
        if action.devices is None:
            waiting.append(builder.make(action))
            continue
        yield from sequence(waiting, length=length, fuse=fuse)
        waiting = []
        yield group(builder.all_of([action]))
    yield from sequence(waiting, length=length, fuse=fuse)


def _levels(actions: Sequence[Action]) -> Iterator[list[Action]]:
    """Actions in levels; needs outside `actions` are met before."""
    names = {action.id for action in actions}
    level = levels({action.id: [need for need, _ in needs_of(action) if need in names] for action in actions})
    for number in range(max(level.values(), default=-1) + 1):
        yield [action for action in actions if level[action.id] == number]

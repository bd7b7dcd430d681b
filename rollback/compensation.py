"""The way back as a plan: which actions are taken back, in which order, where, and what is left for a person.

Works on data alone: the steps of the way forward, what the ledger says of each, and their undo records. Every mechanism
is a filter over this one plan.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from executor.model.plan import Call, Plan, Stage, Step, group, sequence
from executor.model.rollback import Mechanism
from rollback.earlier import Earlier
from rollback.effects import Part, left_behind, parts_of
from rollback.snapshots import Rows, saved_states

_BROKEN_OFF = "taking it back was broken off before, and nobody knows how far it came (--force does it again)"
_NOT_ASKED = "an earlier rollback could not take it back, and it was not asked for now"


@dataclass(frozen=True)
class Wanted:
    """What is to be taken back, and how."""

    mechanism: Mechanism = "compensate"
    only: frozenset[str] | None = None
    """Ids of actions; None: all of them."""
    force: bool = False
    quiet_ms: tuple[int, int] | None = None
    """See `executor.model.plan.Step.quiet_ms`."""
    earlier: Earlier = field(default_factory=Earlier)


@dataclass
class WayBackPlan:
    """A rollback as planned."""

    phases: list[list[Stage]] = field(default_factory=list)
    """Stages of each phase of the way forward, the last one first."""
    steps: dict[str, Step] = field(default_factory=dict)
    remaining: list[dict[str, Any]] = field(default_factory=list)
    """What cannot be undone, known beforehand: action, device, reason, what; with ``unless``: ids of restored
    snapshots, all of which must succeed for it to be taken back all the same."""
    kept: list[str] = field(default_factory=list)
    """What stays done because it is not wanted undone."""

    @property
    def stages(self) -> list[Stage]:
        return [stage for phase in self.phases for stage in phase]

    @property
    def plan(self) -> Plan:
        return Plan(stages=tuple(self.stages))


@dataclass(frozen=True)
class _Undo:
    step: Step
    order: int
    target: str


def plan_way_back(
    forward: Plan,
    steps: Mapping[str, Step],
    actions: Rows,
    wanted: Wanted | None = None,
    *,
    length: int,
    fuse: bool,
) -> WayBackPlan:
    """Newest first: stages backwards, sequences reversed, independent undos side by side.

    Args:
        forward: the plan of generation 0.
        steps: its steps.
        actions: what the ledger says of each, by id.
        wanted: which of it; everything by compensation when left out.
        length: where a sequence is cut.
        fuse: whether neighbours on one device share a message.
    """
    cut = _Cut(length, fuse)
    made = _Planner(forward, steps, actions, wanted or Wanted(), cut).plan()
    made.kept = [name for name in steps if name in made.kept]
    return made


@dataclass(frozen=True)
class _Cut:
    """How sequences are published."""

    length: int
    fuse: bool


class _Planner:
    def __init__(self, forward: Plan, steps: Mapping[str, Step], actions: Rows, wanted: Wanted, cut: _Cut) -> None:
        self._forward = forward
        self._steps = steps
        self._actions = actions
        self._wanted = wanted
        self._cut = cut
        self._made = WayBackPlan()
        by_snapshot = wanted.mechanism == "snapshot" and any(
            row.get("effect", "none") != "none" for name, row in actions.items() if steps[name].purpose == "forward"
        )
        self._saved = saved_states(steps.values(), actions) if by_snapshot else []
        self._held: dict[str, str] = {}
        """Undo step to the snapshot that holds its effect: taken back with that, or else by itself."""
        self._stands_for: dict[str, list[str]] = {saved.step: [] for saved in self._saved}

    def plan(self) -> WayBackPlan:
        self._add_phases(self._undos_of)
        self._restore()
        if self._held:
            # each of them only where its snapshot could not be restored
            self._add_phases(self._held_undos_of)
        return self._made

    def _add_phases(self, undos_of: Callable[[Step], Iterable[_Undo]]) -> None:
        """The stages of the way forward, reversed, with the undos that `undos_of` gives for each of their steps."""
        # pieces of one sequence were cut only for publishing: they are one again on the way back
        for _, phase in groupby(reversed(list(enumerate(self._forward.stages))), key=_phase):
            stages = [stage for _, stage in phase]
            made: list[Stage] = []
            if stages[0].kind == "sequence":
                listed = [one for stage in stages for one in reversed(stage.steps)]
                undos = [undo for one in listed for undo in undos_of(self._steps[one])]
                made += sequence([undo.step for undo in undos], length=self._cut.length, fuse=self._cut.fuse)
            else:
                for stage in stages:
                    undos = [undo for one in stage.steps for undo in undos_of(self._steps[one])]
                    made += [group(layer, stage.name) for layer in _layers(undos)]
            if made:
                self._made.phases.append(made)

    def _undos_of(self, step: Step) -> Iterator[_Undo]:
        """The undo of an action's fallback, then its own, as far as there is something to undo."""
        action = self._actions.get(step.id, {})
        # a skipped one's effect may stand as unknown all the same: a first holder may have died before it asked
        if step.purpose == "snapshot":
            return
        self._made.remaining += left_behind(step, action)
        if action.get("status") == "skipped":
            return
        kept = self._wanted.only is not None and step.id not in self._wanted.only
        for part in parts_of(step, action):
            if part.name in self._wanted.earlier.done:
                continue
            verdict, reason = part.verdict()
            if kept and verdict != "nothing":
                self._keep(part, verdict, reason)
            elif verdict in ("undo", "probe") and self._may_undo(part):
                undo = self._undo(part, probe=part.call if verdict == "probe" else None)
                if self._is_held(undo, part):
                    continue
                yield undo
            elif verdict == "leave":
                self._leave(part, reason)

    def _keep(self, part: Part, verdict: str, reason: str) -> None:
        """It stays by choice; or it stands on the list already, and stays there."""
        earlier = self._wanted.earlier
        if part.name in earlier.touched or (part.step.id in earlier.listed and verdict == "leave"):
            self._made.remaining.append(part.left(reason or _NOT_ASKED))
        elif part.step.id not in self._made.kept:
            self._made.kept.append(part.step.id)

    def _may_undo(self, part: Part) -> bool:
        if part.name in self._wanted.earlier.doubtful and not self._wanted.force:
            self._made.remaining.append(part.left(_BROKEN_OFF))
            return False
        return True

    def _leave(self, part: Part, reason: str) -> None:
        """List what cannot be undone; a snapshot of its device may hold it all the same, as whoever took it meant."""
        left = part.left(reason)
        holding = [saved.step for saved in self._saved if part.how.local and saved.device == left["device"]]
        if holding:
            # of those that were restored before nothing is asked any more
            left["unless"] = [name for name in holding if name not in self._wanted.earlier.done]
            if not left["unless"]:
                return
        for name in left.get("unless", ()):
            self._stands_for[name].append(part.name)
        self._made.remaining.append(left)

    def _is_held(self, undo: _Undo, part: Part) -> bool:
        """Whether a snapshot that is restored holds what a type that restores would take back by itself."""
        if part.how.rule != "restores" or not undo.target:
            return False
        holders = [saved.step for saved in self._saved if saved.holds(undo.step.device, undo.target)]
        if holders:
            self._held[undo.step.id] = holders[0]
            self._stands_for[holders[0]].append(part.name)
        return bool(holders)

    def _held_undos_of(self, step: Step) -> Iterator[_Undo]:
        action = self._actions.get(step.id, {})
        for part in parts_of(step, action):
            if part.name in self._held:
                undo = self._undo(part, probe=None, unless=self._held[part.name])
                yield undo

    def _restore(self) -> None:
        """One snapshot of a device after the other, newest first: they may overlap; devices side by side."""
        undos = []
        for saved in self._saved:
            if saved.step in self._wanted.earlier.done:
                continue
            step, action = self._steps[saved.step], self._actions[saved.step]
            (part,) = parts_of(step, action)
            if not self._may_undo(part):
                continue
            undo = self._undo(part, probe=None, stands_for=tuple(dict.fromkeys(self._stands_for[saved.step])))
            undos.append(_Undo(undo.step, undo.order, "snapshots of the device"))
        if undos:
            self._made.phases.append([group(layer, "snapshot") for layer in _layers(undos)])

    def _undo(
        self, part: Part, *, probe: Call | None, unless: str | None = None, stands_for: tuple[str, ...] = ()
    ) -> _Undo:
        step, how, call = part.step, part.how, part.how.call
        if call is None:
            raise ValueError(f"step {step.id} has a way back by {how.rule} without a call")
        own = how.rule in ("restores", "compensates")
        made = Step(
            id=part.name,
            device=part.device,
            agent=step.agent,
            # a rolling way forward rolls on the way back as well
            fan_out=step.fan_out if step.fan_out and step.fan_out.at_once else None,
            call=call,
            method="compensate" if own else "execute",
            purpose="undo",
            timeout_s=how.timeout_s,
            retry=how.retry,
            on_failure="continue",
            # what restores compares the world with what it saved, so it may run again
            idempotent=how.rule == "restores" or how.idempotent,
            # where another device reaches what was changed, it does as well as the one that changed it
            movable=how.reach,
            reach=how.reach,
            reads=call.reads if probe is None else call.reads | probe.reads,
            undoes=step.id,
            of_fallback=part.of_fallback,
            probe=probe,
            unless=unless,
            stands_for=stands_for,
            what=part.call.shown(),
            force=self._wanted.force,
            quiet_ms=self._wanted.quiet_ms,
        )
        self._made.steps[made.id] = made
        return _Undo(made, part.order, part.target)


def _phase(numbered: tuple[int, Stage]) -> tuple[str, str]:
    """What tells phases apart: pieces of a sequence are one, levels of a named phase too; else a stage is a phase."""
    number, stage = numbered
    return stage.kind, "" if stage.kind == "sequence" else stage.name or f"/{number}"


def _layers(undos: list[_Undo]) -> list[list[Step]]:
    """Undos of a group, side by side; those of one target, or of one action, newest first one after the other."""
    layers: list[list[Step]] = []
    reached: dict[tuple[str, str], int] = {}
    for undo in sorted(undos, key=lambda undo: undo.order, reverse=True):
        keys = [("action", undo.step.undoes or undo.step.id)]
        if undo.target:
            keys.append((undo.step.device, undo.target))
        layer = max((reached.get(key, 0) for key in keys), default=0)
        if layer == len(layers):
            layers.append([])
        layers[layer].append(undo.step)
        for key in keys:
            reached[key] = layer + 1
    return layers

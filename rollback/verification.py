"""The probes of ``rollback.verify`` in a way back: at its end, or after each phase."""

from collections.abc import Sequence

from executor.model.plan import Step, sequence
from rollback.compensation import WayBackPlan


def add_verification(way_back: WayBackPlan, probes: Sequence[Step], *, length: int, fuse: bool) -> None:
    """At the end: the state before, or whatever the probes say of it, must hold."""
    if probes:
        _append(way_back, probes, len(way_back.phases), length=length, fuse=fuse)


def add_verification_points(way_back: WayBackPlan, probes: Sequence[Step], *, length: int, fuse: bool) -> None:
    """After each phase: where a probe does not hold, the rollback halts there. Probes of one point have one number.

    Phases are counted in the order in which they are taken back, from 1.
    """
    for number in range(len(way_back.phases), 0, -1):
        stops = [
            probe.model_copy(update={"id": f"{probe.id}/{number}", "on_failure": "stop"}) for probe in probes
        ]  # fmt: skip
        _append(way_back, stops, number, length=length, fuse=fuse)


def _append(way_back: WayBackPlan, probes: Sequence[Step], at: int, *, length: int, fuse: bool) -> None:
    way_back.steps.update({probe.id: probe for probe in probes})
    way_back.phases.insert(at, sequence(list(probes), length=length, fuse=fuse, name="verify"))

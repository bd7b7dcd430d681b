"""Random plans of ledgers' executions: ways forward, and ways back."""

from typing import Any

from hypothesis import strategies as st

from executor.model.plan import FanOut, Plan, Reads, Stage, Step, group, sequence
from support.ledgers import step

BACK = ["continue", "continue", "continue", "stop"]
"""Only a probe between two phases halts a rollback."""


@st.composite
def undoing(draw: st.DrawFn, earlier: list[str]) -> dict[str, Any]:
    """What is special about a step of a way back."""
    return {
        "undoes": draw(st.sampled_from([None, "a0", "b0"])),
        "of_fallback": draw(st.booleans()),
        "unless": draw(st.sampled_from([None, *earlier])),
    }


@st.composite
def one_step(draw: st.DrawFn, name: str, earlier: list[str], fanned: list[str], *, forward: bool) -> Step:
    """One that may need earlier ones, and read what ran on several devices."""
    wanted = draw(st.lists(st.sampled_from([*earlier, *fanned]), max_size=1)) if earlier else []
    read = tuple(draw(st.lists(st.sampled_from(fanned), max_size=1))) if fanned and forward else ()
    return step(
        name,
        device=draw(st.sampled_from(["d1", "d1", "d2"])),
        on_failure=draw(st.sampled_from(["rollback", "stop", "continue"] if forward else BACK)),
        idempotent=draw(st.booleans()),
        timeout_s=draw(st.sampled_from([0.5, 30.0])),
        needs=tuple((name, draw(st.booleans())) for name in wanted),
        reads=Reads(actions=read, fan_outs=read),
        movable=draw(st.sampled_from([True, True, False])),
        reach=draw(st.booleans()),
        **({} if forward else draw(undoing(earlier))),
    )


@st.composite
def fanned_out(draw: st.DrawFn, first: Step) -> list[Step]:
    """The same on up to four devices, of which perhaps only so many may be at it at once."""
    shared = FanOut(
        of=first.id, at_once=draw(st.sampled_from([0, 1, 1, 2])), bearable=draw(st.sampled_from([0, 1, 5]))
    )  # fmt: skip
    devices = [f"d{number}" for number in range(1, draw(st.integers(2, 4)) + 1)]
    return [
        first.model_copy(update={"id": f"{first.id}@{device}", "device": device, "fan_out": shared})
        for device in devices
    ]


@st.composite
def plans(draw: st.DrawFn, prefix: str = "", *, forward: bool = True) -> tuple[Plan, dict[str, Step]]:
    """Up to three stages of up to four actions, each of which may need earlier ones; in a group some fan out."""
    stages: list[Stage] = []
    steps: dict[str, Step] = {}
    fanned: list[str] = []
    for number in range(draw(st.integers(1, 3))):
        earlier = [name for name in steps if "@" not in name]
        before = list(fanned)
        wide, listed = draw(st.booleans()), list[Step]()
        for place in range(draw(st.integers(1, 4))):
            one = draw(one_step(f"{prefix}{'abc'[number]}{place}", earlier, before, forward=forward))
            if wide and draw(st.sampled_from([True, False, False])):
                listed += draw(fanned_out(one))
                fanned.append(one.id)
            else:
                listed.append(one)
        steps.update({one.id: one for one in listed})
        stages += [group(listed)] if wide else sequence(listed, length=3, fuse=draw(st.booleans()))
    return Plan(stages=tuple(stages)), steps

"""Random plans of ledgers' executions: ways forward, and ways back."""

from typing import Any

from hypothesis import strategies as st

from executor.model.plan import Plan, Stage, Step, group, sequence
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
def plans(draw: st.DrawFn, prefix: str = "", *, forward: bool = True) -> tuple[Plan, dict[str, Step]]:
    """Up to three stages of up to four steps, each of which may need earlier ones."""
    stages: list[Stage] = []
    steps: dict[str, Step] = {}
    for number in range(draw(st.integers(1, 3))):
        earlier = list(steps)
        listed = []
        for place in range(draw(st.integers(1, 4))):
            wanted = draw(st.lists(st.sampled_from(earlier), max_size=1)) if earlier else []
            listed.append(
                step(
                    f"{prefix}{'abc'[number]}{place}",
                    device=draw(st.sampled_from(["d1", "d1", "d2"])),
                    on_failure=draw(st.sampled_from(["rollback", "stop", "continue"] if forward else BACK)),
                    idempotent=draw(st.booleans()),
                    timeout_s=draw(st.sampled_from([0.5, 30.0])),
                    needs=tuple((name, draw(st.booleans())) for name in wanted),
                    **({} if forward else draw(undoing(earlier))),
                )
            )
        steps.update({one.id: one for one in listed})
        stages += [group(listed)] if draw(st.booleans()) else sequence(listed, length=3, fuse=draw(st.booleans()))
    return Plan(stages=tuple(stages)), steps

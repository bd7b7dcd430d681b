"""The graphs that are measured: as a strategy for rex, and as a canvas for raw Celery."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]

DEVICES = ("bench-1", "bench-2")
_NOOP = {"uses": "wait", "with": {"for": "0ms"}}


@dataclass(frozen=True)
class Graph:
    """One shape, in one size."""

    name: str
    actions: int
    """How many actions run; a compensation is one too."""
    rounds: int
    strategy: Callable[[], Json]
    kind: Literal["sequence", "group", "phases", "rollback"]
    width: int
    fuses: bool = False
    """Whether fusing makes a difference: only neighbours of a sequence are fused."""
    slots: int = 0
    """`limits.parallel` where it is narrower than the stage; raw Celery has no such limit."""
    status: str = "completed"


def _device(number: int) -> str:
    return DEVICES[number % len(DEVICES)]


def _action(number: int, **more: Any) -> Json:
    return {"id": f"a{number}", "device": _device(number), **_NOOP, **more}


def _sequence(length: int) -> Json:
    actions = [_action(n, device=DEVICES[0]) for n in range(length)]
    return {"name": f"sequence-{length}", "model": "sequential", "actions": actions}


def _parallel(width: int, slots: int) -> Json:
    actions = [_action(n) for n in range(width)]
    return {
        "name": f"parallel-{width}",
        "model": "parallel",
        "limits": {"parallel": slots or width},
        "actions": actions,
    }


def _phased(phases: int, width: int) -> Json:
    return {
        "name": f"phased-{phases}x{width}",
        "model": "phased",
        "limits": {"parallel": width},
        "phases": [
            {"name": f"phase {phase + 1}", "actions": [_action(phase * width + n) for n in range(width)]}
            for phase in range(phases)
        ],
    }


def _rollback(length: int) -> Json:
    actions = [_action(n, device=DEVICES[0], compensate=_NOOP) for n in range(length - 1)]
    last = {"id": "last", "device": DEVICES[0], "uses": "assert", "with": {"that": "false"}, "retry": "none"}
    return {"name": f"rollback-{length}", "model": "sequential", "actions": [*actions, last]}


def _wide(width: int, rounds: int, slots: int = 0) -> Graph:
    name = f"parallel-{width}" + (f"-limit-{slots}" if slots else "")
    return Graph(name, width, rounds, lambda: _parallel(width, slots), "group", width, slots=slots)


GRAPHS = (
    Graph("sequence-10", 10, 21, lambda: _sequence(10), "sequence", 10, fuses=True),
    Graph("rollback-10", 19, 21, lambda: _rollback(10), "rollback", 10, fuses=True, status="failed"),
    Graph("phased-5x20", 100, 11, lambda: _phased(5, 20), "phases", 20),
    _wide(10, 21),
    _wide(100, 11),
    _wide(1000, 7),
    _wide(1000, 1, slots=5),
)

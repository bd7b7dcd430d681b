"""The other side: a plain Celery application, for ``celery -A benchmarks.raw``, and the canvases of the graphs."""

import os
import uuid
from typing import Any

from celery import Celery, Task, chain, chord
from celery.canvas import Signature

from benchmarks.graphs import DEVICES, Graph
from config.celery import celery_config
from config.queues import CONTROL, device_queue
from executor.broker.addresses import celery_addresses

URL = "REX_BENCH_RAW_URL"


def make_app(url: str) -> Celery:
    """rex's own settings, but for the results: here every one is kept."""
    made = Celery("benchmarks.raw")
    made.config_from_object({**celery_config(), **celery_addresses(url, url, "client"), "task_ignore_result": False})

    @made.task(name="bench.noop", shared=False)
    def noop(number: int) -> dict[str, int]:
        return {"number": number}

    @made.task(name="bench.fail", shared=False, throws=(RuntimeError,))
    def fail() -> None:
        raise RuntimeError("the condition does not hold")

    @made.task(name="bench.end", shared=False)
    def end() -> None:
        """The plain task in which a chord ends."""

    # bound: an unbound one would run inside the failing worker
    @made.task(name="bench.undo", bind=True, shared=False)
    def undo(self: Task, length: int, last: str) -> None:
        chain(*[_noop(self.app, n) for n in reversed(range(1, length))], _noop(self.app, 0, task_id=last)).apply_async()

    return made


def start(app: Celery, graph: Graph) -> Any:
    """Publish `graph`; returns the result to wait for."""
    if graph.kind == "sequence":
        return chain(*[_noop(app, n) for n in range(graph.width)]).apply_async()
    if graph.kind == "rollback":
        return _start_failing(app, graph.width)
    if graph.kind == "group":
        return chord([_noop(app, n, spread=True) for n in range(graph.width)], _end(app)).apply_async()
    groups = [
        chord([_noop(app, phase * graph.width + n, spread=True) for n in range(graph.width)], _end(app))
        for phase in range(graph.actions // graph.width)
    ]
    return chain(*groups).apply_async()


def _start_failing(app: Celery, length: int) -> Any:
    last = str(uuid.uuid4())
    failing = app.signature("bench.fail", immutable=True, queue=device_queue(DEVICES[0]))
    undo = app.signature("bench.undo", args=(length - 1, last), immutable=True, queue=CONTROL)
    canvas = chain(*[_noop(app, n) for n in range(length - 1)], failing)
    canvas.link_error(undo)
    canvas.apply_async()
    return app.AsyncResult(last)


def _noop(app: Celery, number: int, *, spread: bool = False, task_id: str | None = None) -> Signature:
    device = DEVICES[number % len(DEVICES) if spread else 0]
    made = app.signature("bench.noop", args=(number,), immutable=True, queue=device_queue(device))
    return made.set(task_id=task_id) if task_id else made


def _end(app: Celery) -> Signature:
    return app.signature("bench.end", immutable=True, queue=CONTROL)


if URL in os.environ:
    app = make_app(os.environ[URL])

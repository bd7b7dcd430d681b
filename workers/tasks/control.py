"""The coordinator's tasks; their names stand in `executor.task_names`."""

import logging
from collections.abc import Callable
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore

from executor.model.ids import is_execution_id
from executor.resolution import ResolutionExecutor
from executor.task_names import ADVANCE, BEGIN_ROLLBACK, CONCLUDE, EXECUTE_STRATEGY, PREVIEW_ROLLBACK
from rollback.manager import RollbackManager
from workers.crash import crash_point
from workers.underway import Underway

_log = logging.getLogger("rex.control")


def register(
    app: Celery,
    executor: Callable[[], ResolutionExecutor],
    rollback: Callable[[], RollbackManager],
    underway: Callable[[], Underway],
) -> None:
    """Give `app` the tasks; what does the work is asked for when a message comes.

    What may take long is kept from other coordinators meanwhile: they would find it in the outbox, under these names.
    """

    @app.task(name=EXECUTE_STRATEGY, bind=True, shared=False)  # type: ignore[untyped-decorator]
    def execute_strategy(
        self: Task, strategy: Any = None, inputs: Any = None, context: Any = None, *_: Any, **__: Any
    ) -> None:
        # without a strategy it was submitted to the ledger; the execution's id is the task's either way
        document = None if strategy is None else {"strategy": strategy, "inputs": inputs, "context": context}
        with underway().keeping(f"ex:{self.request.id}"):
            executor().execute_strategy(self.request.id, document)

    @app.task(name=ADVANCE, shared=False)  # type: ignore[untyped-decorator]
    def advance(execution: Any = None, generation: Any = None, stage: Any = None, *_: Any, **__: Any) -> None:
        _expect(is_execution_id(execution) and _is_count(generation) and _is_count(stage))
        crash_point("advance", execution)
        with underway().keeping(f"adv:{execution}|{generation}|{stage}"):
            executor().advance(execution, generation, stage)

    @app.task(name=CONCLUDE, shared=False)  # type: ignore[untyped-decorator]
    def conclude(execution: Any = None, *_: Any, **__: Any) -> None:
        _expect(is_execution_id(execution))
        with underway().keeping(f"con:{execution}"):
            executor().conclude(execution)

    # bound, so that Celery enqueues it as an error callback instead of running it inside the failing worker
    @app.task(name=BEGIN_ROLLBACK, bind=True, shared=False)  # type: ignore[untyped-decorator]
    def begin(self: Task, execution: Any = None, *_: Any, **__: Any) -> None:  # noqa: ARG001
        _expect(is_execution_id(execution))
        crash_point("begin", execution)
        with underway().keeping(f"rb:{execution}"):
            rollback().rollback(execution)

    @app.task(name=PREVIEW_ROLLBACK, shared=False)  # type: ignore[untyped-decorator]
    def preview(
        execution: Any = None, request: Any = None, key: Any = None, asked_ms: Any = None, *_: Any, **__: Any
    ) -> None:
        sound = is_execution_id(execution) and isinstance(request, dict) and is_execution_id(key)
        _expect(sound and _is_count(asked_ms))
        with underway().keeping(f"ask:{key}"):
            rollback().preview(execution, request, key, asked_ms)


def _expect(sound: bool) -> None:
    if not sound:
        _log.warning("dropped a message: its arguments are none of ours")
        raise Ignore


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

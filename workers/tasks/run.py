"""`workers.run`: carries out the actions of one message on a device."""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from celery import Celery
from celery.exceptions import Ignore, Reject

from config.queues import device_of
from executor.canvas import parked_message, shown_arguments, shown_name
from executor.model.execution import Claimed, Ended
from executor.model.plan import action_task_id
from executor.task_names import RUN
from workers.runner import ActionFailed, HandBack, NotNow, Runner, valid_message
from workers.tasks.shown import RunTask, event_of

_log = logging.getLogger("rex.run")


class CeleryMessage:
    """The task that is being run, as the runner sees it."""

    def __init__(self, task: RunTask, execution: str, generation: int, actions: Sequence[str]) -> None:
        self._task = task
        self._execution = execution
        self._generation = generation
        self._fused = len(actions) > 1
        delivered_by = (task.request.delivery_info or {}).get("routing_key") or ""
        self.at = device_of(delivered_by) or ""

    def signature(self, actions: Sequence[str], attempt: int | None = None) -> str:
        """Itself as JSON with these actions left; keeps chain, chord, links and id."""
        signed = self._task.signature_from_request(
            self._task.request, args=(self._execution, self._generation, list(actions))
        )
        return json.dumps(parked_message(dict(signed), attempt))

    @contextlib.contextmanager
    def showing(self, claimed: Claimed) -> Iterator[Callable[[Ended], None]]:
        """Tell how an action goes by task events; in a fused message under an id of its own."""
        if not self._task.app.conf.worker_send_task_events:
            yield lambda _: None
            return
        uuid = self._task.request.id
        begun = time.monotonic()
        if self._fused:
            uuid = action_task_id(claimed.execution, claimed.generation, claimed.step.id)
            step = claimed.step
            about = (claimed.strategy, [step.id], step.device)
            arguments = shown_arguments(*about, claimed.attempt, generation=claimed.generation)
            name = shown_name(*about, generation=claimed.generation)
            self._send("task-received", uuid, name=name, args=arguments, kwargs="{}", retries=claimed.attempt - 1)
            self._send("task-started", uuid)

        def ended_as(ended: Ended) -> None:
            if self._fused or ended.status == "retry":
                kind, fields = event_of(ended, time.monotonic() - begun)
                self._send(kind, uuid, **fields)
            else:
                self._task.outcomes[uuid] = ended

        yield ended_as

    def _send(self, kind: str, uuid: str, **fields: Any) -> None:
        # an observer that cannot be told harms nobody
        try:
            self._task.app.rex_events.send(kind, uuid=uuid, **fields)
        except Exception as error:  # noqa: BLE001
            _log.debug("task event not sent: %s", error)


def register(app: Celery, runner: Callable[[], Runner], before_it_goes_back: Callable[[], None]) -> None:
    """Give `app` the task.

    Args:
        app: the app.
        runner: asked for when a message comes, after the worker was set up.
        before_it_goes_back: waits until a message that is put back does not come to this process again.
    """

    @app.task(  # type: ignore[untyped-decorator]
        name=RUN, base=RunTask, bind=True, shared=False, throws=(ActionFailed,)
    )
    def run(
        self: RunTask, execution: Any = None, generation: Any = None, actions: Any = None, *_: Any, **__: Any
    ) -> None:
        if not valid_message(execution, generation, actions):
            _log.warning("dropped a message: its arguments are none of ours")
            raise Ignore
        message = CeleryMessage(self, execution, generation, actions)
        try:
            runner().run(message, execution, generation, actions)
        except NotNow as reason:
            self.outcomes.pop(self.request.id, None)  # Celery tells nothing of a message that is ignored
            raise Ignore from reason
        except HandBack as reason:
            self.outcomes.pop(self.request.id, None)
            before_it_goes_back()
            raise Reject("this worker ends", requeue=True) from reason

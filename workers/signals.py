"""What happens at which moment of a Celery worker's life."""

import logging
import os
import threading
import warnings
from typing import Any, NoReturn

from celery import signals as celery_signals
from celery.bootsteps import StartStopStep
from celery.exceptions import CPendingDeprecationWarning
from celery.worker.consumer.events import Events
from celery.worker.consumer.tasks import Tasks

from executor.broker.addresses import broker_options
from executor.model.errors import AccessRefused, JoinRefused, SettingsInvalid
from workers.broker import install_surviving_transport, stop_fetching
from workers.keeper import NO_ACCESS, REFUSED
from workers.publisher import BatchingCelery
from workers.wiring import node_of

_GATHER_S = 0.05
_MOST_EVENTS = 10_000


def connect_signals(app: BatchingCelery) -> None:
    """Let the worker of `app` become a node of the cluster; other apps in the process are left alone."""

    names: set[str] = set()

    def before_anything(instance: Any = None, conf: Any = None, **_: Any) -> None:
        # every connection of this process carries its incarnation, so its messages are its own
        if instance.app is app:
            install_surviving_transport()
            node = node_of(app)
            conf.broker_transport_options = broker_options(str(node.settings.broker_url), node.incarnation)

    def before_it_consumes(instance: Any = None, **_: Any) -> None:
        if instance.app is app:
            _leave_out_what_the_ledger_tells()
            names.add(instance.hostname)
            try:
                node_of(app).join(list(app.amqp.queues.consume_from), int(instance.concurrency or 1))
            except AccessRefused as error:
                _end_refused(error, NO_ACCESS)
            except (JoinRefused, SettingsInvalid) as error:
                _end_refused(error, REFUSED)

    def when_it_is_told_to_end(sender: Any = None, **_: Any) -> None:
        if sender in names:
            node_of(app).leaving.ask()

    def at_its_end(sender: Any = None, **_: Any) -> None:
        if sender.app is app:
            node_of(app).leave()

    celery_signals.celeryd_init.connect(before_anything, weak=False)
    celery_signals.celeryd_after_setup.connect(before_it_consumes, weak=False)
    celery_signals.worker_shutting_down.connect(when_it_is_told_to_end, weak=False)
    app.steps["consumer"].update((GatherTaskEvents, StopFetching))
    celery_signals.worker_shutdown.connect(at_its_end, weak=False)


class GatherTaskEvents(StartStopStep):  # type: ignore[misc]
    """Lets task events wait for one another; with every connection anew, for Celery makes a new dispatcher then."""

    requires = (Events,)

    def start(self, consumer: Any) -> None:
        """Called when the dispatcher of a connection is there."""
        consumer.app.rex_events = consumer.event_dispatcher
        _gather_task_events(consumer)


class StopFetching(StartStopStep):  # type: ignore[misc]
    """Of a worker that ends in order: what it has fetched and not begun goes back before the last task has ended."""

    requires = (Tasks,)

    def stop(self, consumer: Any) -> None:
        """Called at the end, and also when the connection was lost: then there is nothing to put back."""
        leaving = node_of(consumer.app).leaving
        if leaving.begun and consumer.task_consumer is not None:
            try:
                stop_fetching(consumer.task_consumer)
            finally:
                leaving.fetches_no_more()


def _end_refused(error: Exception, status: int) -> NoReturn:
    """End before anything was begun. Celery swallows what a signal's receiver raises, and redirects our streams."""
    os.write(2, f"rex: {error}\n".encode(errors="replace"))
    os._exit(status)


def _leave_out_what_the_ledger_tells() -> None:
    """Keep ordinary failures of actions, and a lost connection, from filling the log with Celery's own tracebacks."""

    def told_by_the_ledger(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Chord %r raised")

    for name in ("celery.backends.base", "celery.backends.redis"):
        logging.getLogger(name).addFilter(told_by_the_ledger)
    # what to do with running tasks is decided: they go on, and are settled when the server is back
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)


def _gather_task_events(consumer: Any) -> None:
    """Let task events wait for one another: sent one by one they take a fifth of the time of a busy worker."""
    dispatcher, hub = consumer.event_dispatcher, consumer.hub
    if dispatcher is None or dispatcher.on_send_buffered is None:
        return
    due = threading.Event()

    def flush() -> None:
        due.clear()
        dispatcher.flush()

    def soon() -> None:
        if not due.is_set():
            due.set()
            # threads of the pool send too, and the hub's timers belong to its own thread
            hub.call_soon(hub.call_later, _GATHER_S, flush)

    dispatcher.on_send_buffered = soon
    # never sent by the thread that fills it: the connection is the hub's, and AMQP's frames must not mix
    dispatcher.buffer_limit = _MOST_EVENTS

"""The one Celery app, for ``celery -A workers``."""

from config.celery import celery_config
from executor.broker.addresses import celery_addresses
from workers.publisher import BatchingCelery
from workers.signals import connect_signals
from workers.tasks import control, run
from workers.wiring import node_of


def make_app() -> BatchingCelery:
    """The app, configured from the settings of this process."""
    made = BatchingCelery("workers")
    node = node_of(made)
    addresses = celery_addresses(str(node.settings.broker_url), str(node.settings.ledger_url), "client")
    made.config_from_object({**celery_config(), **addresses})
    run.register(made, lambda: node_of(made).runner, node_of(made).leaving.wait_for_that)
    control.register(
        made, lambda: node_of(made).executor, lambda: node_of(made).rollback, lambda: node_of(made).underway
    )
    connect_signals(made)
    return made


app = make_app()

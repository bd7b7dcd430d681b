"""Names on the wire: Celery tasks. Queue names are `config.queues`."""

EXECUTE_STRATEGY = "executor.execute_strategy"
ADVANCE = "executor.advance"
CONCLUDE = "executor.conclude"
BEGIN_ROLLBACK = "rollback.begin"
PREVIEW_ROLLBACK = "rollback.preview"
RUN = "workers.run"

CONTROL = (EXECUTE_STRATEGY, ADVANCE, CONCLUDE, BEGIN_ROLLBACK, PREVIEW_ROLLBACK)
"""Tasks of the coordinator; their own scripts strike them out of the outbox."""

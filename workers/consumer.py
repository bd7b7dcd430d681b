"""The consumer of a Celery worker without what we have no use for."""

from typing import ClassVar

from celery.worker.consumer import Consumer

DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class PlainConsumer(Consumer):  # type: ignore[misc]
    """Declares no queues for delays: on RabbitMQ Celery makes 28 of them, and every delay of ours is in the ledger."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        """Celery's own steps but one."""

        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if step != DELAYED_DELIVERY
        ]

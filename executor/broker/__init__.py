"""What carries messages: Valkey and Redis, Sentinel, RabbitMQ: how Celery is told of them, and how they look."""

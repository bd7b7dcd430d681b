"""How Celery is set up: the settings that were measured together, and nothing by chance."""

import socket
from typing import Any

from config.queues import CONTROL

_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S


HEARTBEAT_S = 3
"""RabbitMQ gives the messages of a host that has vanished to another after about twice this time."""


VANISHED_S = 20
"""A Redis server that has acknowledged nothing for so long is gone; connections to it end."""


def transport_options(owner: str) -> dict[str, Any]:
    """Options of the Redis transport for one process.

    Unacknowledged messages lie under the owner's own keys, so that they can be put back when it is dead; the name
    holds an incarnation, or a restarted worker would hide its predecessor's messages.

    Args:
        owner: ``worker:incarnation``.
    """
    return {
        # a healthy long action must never be started twice: the watchdog puts messages back, not a timeout
        "visibility_timeout": 6 * _HOUR_S,
        "polling_interval": 0.2,
        "priority_steps": [0],
        "client_name": f"w:{owner}",
        "unacked_key": f"unacked:{owner}",
        "unacked_index_key": f"unacked_index:{owner}",
        "unacked_mutex_key": f"unacked_mutex:{owner}",
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        # a server whose host has vanished says nothing: who waits for its answer must find out before TCP gives up
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "socket_keepalive_options": {
            socket.TCP_KEEPIDLE: 5,
            socket.TCP_KEEPINTVL: 3,
            socket.TCP_KEEPCNT: 5,
            socket.TCP_USER_TIMEOUT: VANISHED_S * 1000,
        },
        "health_check_interval": 10,
    }


def celery_config() -> dict[str, Any]:
    """The configuration of the one Celery app, but for where its servers are."""
    return {
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # RabbitMQ closes the channel of a consumer that is slow; what it runs goes on
        "broker_channel_error_retry": True,
        "result_backend_always_retry": True,
        "result_expires": 7 * _DAY_S,
        # a member that returns after its chord's keys are gone hangs the chord silently
        "result_chord_expires": 30 * _DAY_S,
        "result_chord_join_timeout": 30,
        "task_default_queue": CONTROL,
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        # results travel through the ledger
        "task_ignore_result": True,
        "task_allow_error_cb_on_chord_header": False,
        "task_send_sent_event": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_pool": "threads",
        "worker_consumer": "workers.consumer:PlainConsumer",
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "worker_enable_remote_control": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_heartbeat": HEARTBEAT_S,
        "timezone": "UTC",
    }

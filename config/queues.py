"""Names of queues: the only place that knows how they are made of device ids and agent kinds."""

CONTROL = "control"
"""What the coordinator serves."""

_DEVICE = "device."
_AGENT = "agent."


def device_queue(device: str) -> str:
    return f"{_DEVICE}{device}"


def agent_queue(kind: str) -> str:
    return f"{_AGENT}{kind}"


def device_of(queue: str) -> str | None:
    """The device that `queue` belongs to; None when it is the queue of something else."""
    return queue.removeprefix(_DEVICE) if queue.startswith(_DEVICE) else None


def agent_of(queue: str) -> str | None:
    """The agent kind that `queue` belongs to; None when it is the queue of something else."""
    return queue.removeprefix(_AGENT) if queue.startswith(_AGENT) else None

"""Names of queues."""

import pytest

from config.queues import CONTROL, agent_of, agent_queue, device_of, device_queue


@pytest.mark.parametrize("device", ["edge-1", "a.b", "device.x", "control"])
def test_a_device_is_found_again_in_the_name_of_its_queue(device: str) -> None:
    """Whatever a device is called, its queue is its own and leads back to it."""
    assert device_of(device_queue(device)) == device
    assert agent_of(device_queue(device)) is None


def test_queues_of_agents_and_the_coordinator_are_no_devices() -> None:
    """Each kind of queue is told from the others."""
    assert agent_of(agent_queue("coder")) == "coder"
    assert device_of(agent_queue("coder")) is None
    assert device_of(CONTROL) is None
    assert agent_of(CONTROL) is None

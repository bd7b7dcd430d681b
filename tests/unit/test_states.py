"""A document for devices: what it may hold, what is said of those that have it, and of those that have not."""

import threading

import pytest

from executor.ledger.memory import MemoryLedger
from executor.model.device import Announcement
from executor.states import MAX_STATE_BYTES, state_text, synchronize_state


def serve(ledger: MemoryLedger, *devices: str) -> None:
    for device in devices:
        ledger.register(f"w-{device}", Announcement(devices=(device,), protocol=2))


def test_equal_content_is_equal_text() -> None:
    """The order of keys says nothing."""
    assert state_text({"b": [1, None], "a": {"d": True, "c": "ä"}}) == '{"a":{"c":"ä","d":true},"b":[1,null]}'
    assert state_text({"a": {"c": "ä", "d": True}, "b": [1, None]}) == state_text(
        {"b": [1, None], "a": {"d": True, "c": "ä"}}
    )


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ([1], "a state is a map"),
        (None, "a state is a map"),
        ({"a": {1}}, r"state\.a is a set, which JSON does not have"),
        ({"a": float("nan")}, "nan, which JSON does not have"),
        ({1: "a"}, "JSON keys are text"),
        ({"a": ["\ud800"]}, "not Unicode"),
        ({"a": {"b": ["x", "secret://env/TOKEN"]}}, r"state\.a\.b\[1\] names a secret"),
        ({"a": "token=secret://vault"}, r"state\.a names a secret"),
        ({"secret://env/TOKEN": 1}, "a key of state names a secret"),
        ({"a": "x" * MAX_STATE_BYTES}, f"more than {MAX_STATE_BYTES}"),
    ],
)
def test_what_may_not_be_kept_is_refused_with_its_place(state: object, said: str) -> None:
    """Before anything is written."""
    ledger = MemoryLedger()
    serve(ledger, "edge-1")
    with pytest.raises(ValueError, match=said):
        synchronize_state(ledger, None, state)
    assert ledger.state_of("edge-1") is None


def test_something_nested_too_deep_is_refused() -> None:
    state: dict[str, object] = {}
    for _ in range(100):
        state = {"a": state}
    with pytest.raises(ValueError, match="nested deeper"):
        state_text(state)


def test_who_has_not_acknowledged_is_named_with_the_reason() -> None:
    """A silent worker, a device that nobody serves; those that have it are told apart."""
    ledger = MemoryLedger()
    serve(ledger, "edge-1", "edge-2")
    waiting = threading.Timer(0.05, ledger.acknowledge, ("w-edge-1", "edge-1", 1))
    waiting.start()
    told = synchronize_state(ledger, ["edge-1", "edge-2", "edge-3", "edge-1"], {"a": 1}, timeout_s=0.3)
    waiting.join()
    assert (told["version"], told["complete"], told["missing"]) == (1, False, ["edge-2", "edge-3"])
    assert told["devices"]["edge-1"] == {"version": 1, "acknowledged": True, "reason": None}
    assert "has not acknowledged it in time" in told["devices"]["edge-2"]["reason"]
    assert "rex worker --device edge-3" in told["devices"]["edge-3"]["reason"]


def test_a_worker_of_the_release_before_is_named_as_such() -> None:
    ledger = MemoryLedger()
    ledger.register("w1", Announcement(devices=("edge-1",), protocol=1))
    told = synchronize_state(ledger, ["edge-1"], {"a": 1}, timeout_s=0)
    assert "of a release that knows no documents" in told["devices"]["edge-1"]["reason"]


def test_a_newer_document_is_the_reason_why_an_older_one_never_arrives() -> None:
    ledger = MemoryLedger()
    serve(ledger, "edge-1")
    newer = threading.Timer(0.05, ledger.synchronize, (["edge-1"], '{"a":2}'))
    newer.start()
    told = synchronize_state(ledger, ["edge-1"], {"a": 1}, timeout_s=0.3)
    newer.join()
    assert "a newer document, version 2" in told["devices"]["edge-1"]["reason"]


def test_all_that_are_served_is_the_default_and_none_is_an_error() -> None:
    ledger = MemoryLedger()
    with pytest.raises(ValueError, match="no device is named, and none is served"):
        synchronize_state(ledger, None, {})
    serve(ledger, "edge-1", "edge-2")
    assert sorted(synchronize_state(ledger, None, {}, timeout_s=0)["devices"]) == ["edge-1", "edge-2"]


@pytest.mark.parametrize("name", ["", "a b", "../etc", "edge-1\n", 7])
def test_what_is_no_device_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="is no device"):
        synchronize_state(MemoryLedger(), [name], {})  # type: ignore[list-item]

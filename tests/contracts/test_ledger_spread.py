"""An execution on more than one device says so at its beginning, and how each of them fared at its end."""

from typing import Any

from support.ledgers import AnyLedger, Tried, in_group, in_sequence, step

STARTED, COMPLETED = "distributed:execution:started", "distributed:execution:completed"


def told(tried: Tried, name: str) -> list[Any]:
    return [event["data"] for event in tried.ledger.events(tried.id) if event["event"] == name]


def test_devices_are_told_at_the_beginning_and_results_at_the_end(ledger: AnyLedger) -> None:
    """The result stands before the last event of the execution."""
    steps = [step("a"), step("b", device="edge-2"), step("c", device="edge-2", on_failure="continue")]
    tried = Tried(ledger).start(in_group(steps))
    assert told(tried, STARTED) == [{"devices": ["edge-1", "edge-2"]}]
    tried.do("a", "b")
    tried.do("c", status="failed")
    assert ledger.advance("E1", 0, 0)
    assert ledger.conclude("E1", "completed")
    assert told(tried, COMPLETED) == [
        {"results": {"edge-1": {"succeeded": 1}, "edge-2": {"failed": 1, "succeeded": 1}}}
    ]
    assert tried.events()[-2:] == [COMPLETED, "execution:completed"]


def test_what_never_began_is_no_result_and_what_was_cancelled_is_one(ledger: AnyLedger) -> None:
    """Of actions that no worker had the plan says the device; those of later stages have not ended."""
    first = in_group([step("a", on_failure="stop"), step("b", device="edge-2", needs=(("x", False),))])
    tried = Tried(ledger).start(first, in_sequence([step("later", device="edge-3")]))
    assert tried.answer("b") == "done"  # skipped
    tried.do("a", status="failed")
    assert ledger.conclude("E1", "failed")
    assert told(tried, COMPLETED) == [{"results": {"edge-1": {"failed": 1}, "edge-2": {"skipped": 1}}}]


def test_one_device_is_nothing_distributed(ledger: AnyLedger) -> None:
    tried = Tried(ledger).complete()
    assert told(tried, STARTED) == told(tried, COMPLETED) == []


def test_one_that_is_taken_back_later_tells_its_results_again(ledger: AnyLedger) -> None:
    """Each end has its own."""
    tried = Tried(ledger).start(in_group([step("a"), step("b", device="edge-2")]))
    tried.do("a", "b")
    assert ledger.advance("E1", 0, 0)
    assert ledger.conclude("E1", "completed")
    assert tried.reopen() == ("ok", "")
    tried.go_back_empty("rolled_back")
    assert len(told(tried, COMPLETED)) == 2

"""The table of events and the scripts that write them say the same."""

import re
from pathlib import Path

import executor
from executor import client
from executor.model.event import BY_NAME, EVENTS, LAST_EVENTS
from executor.model.execution import TERMINAL

LUA = Path(str(executor.__file__)).parent / "ledger" / "lua"
PREFIXES = ("execution:action:", "rollback:action:")


def emitted() -> set[str]:
    """Names in the first argument of each `emit(...)`, those that are put together spelled out."""
    text = "\n".join(path.read_text() for path in sorted(LUA.glob("*.lua")))
    text = re.sub(r"--[^\n]*", "", text)
    text = text.replace("local function emit(E, name, data)", "").replace("local function tell(name, data)", "")
    names = set(re.findall(r"\btell\('([\w:]+)',", text))
    assert len(re.findall(r"\btell\(", text)) == len(names), "this test cannot read a tell(...)"
    for call in re.findall(r"\bemit\([^,]+, *(.+)", text):
        if found := re.match(r"'([\w:]+)',", call):
            names.add(found[1])
        elif found := re.match(r"action_event\(.+?, '(\w+)'\)", call):
            names |= {prefix + found[1] for prefix in PREFIXES}
        elif call.startswith("action_event(G, EVENT_OF[status])"):
            ends = re.findall(r"= '(\w+)'", re.findall(r"EVENT_OF = \{(.*?)\}", text)[0])
            names |= {prefix + end for prefix in PREFIXES for end in ends}
        elif call.startswith("'execution:' .. status,"):
            names |= {f"execution:{state}" for state in TERMINAL}
        else:
            raise AssertionError(f"this test cannot read: emit(..., {call}")
    return names


def test_every_event_that_a_script_writes_is_in_the_table_and_the_other_way_round() -> None:
    """A script cannot write an event that nobody has described, and no described one is never written."""
    assert emitted() == set(BY_NAME)


def test_no_event_is_named_twice() -> None:
    """The table has one entry for each name."""
    assert len(BY_NAME) == len(EVENTS)


def test_an_execution_ends_with_an_event_of_the_table() -> None:
    """Every terminal state has its event."""
    assert set(BY_NAME) >= LAST_EVENTS


def test_the_client_stops_following_at_the_events_of_the_table() -> None:
    """Who follows an execution neither stops early nor waits for ever."""
    assert client._LAST_EVENTS == LAST_EVENTS


def test_names_follow_one_form() -> None:
    """subject:fact, or subject:part:fact."""
    assert all(re.fullmatch(r"(execution|rollback|distributed|system):([a-z_]+:)?[a-z_]+", name) for name in BY_NAME)

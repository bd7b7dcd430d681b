"""Logging of our processes."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from config.logging import setup_logging

NAME = "rex-test-logger"


def fail(message: str) -> None:
    raise ValueError(message)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the test's logger writes; the logger is as before afterwards."""
    yield io.StringIO()
    logger = logging.getLogger(NAME)
    logger.handlers, logger.propagate = [], True
    structlog.contextvars.clear_contextvars()


def test_elsewhere_than_on_a_terminal_each_line_is_json(stream: io.StringIO) -> None:
    """A log collector reads message, level, time, context and extra fields without guessing."""
    setup_logging(stream, loggers=[NAME])
    structlog.contextvars.bind_contextvars(execution="e1")
    logging.getLogger(NAME).warning("claimed %s", "restart", extra={"device": "edge-1"})
    entry = json.loads(stream.getvalue())
    assert entry["event"] == "claimed restart"
    assert (entry["level"], entry["logger"]) == ("warning", NAME)
    assert (entry["execution"], entry["device"]) == ("e1", "edge-1")
    assert entry["timestamp"].endswith("Z")


def test_for_people_a_message_is_one_line(stream: io.StringIO) -> None:
    """What a stranger put into a message cannot look like a line of its own."""
    setup_logging(stream, loggers=[NAME], human=True)
    logging.getLogger(NAME).error("first\nsecond", extra={"device": "edge-1"})
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith(f" error {NAME}: first\\nsecond device='edge-1'\n")


@pytest.mark.parametrize("human", [True, False])
def test_secrets_are_masked_in_messages_fields_and_tracebacks(stream: io.StringIO, human: bool) -> None:
    """Also where JSON would have escaped the secret."""
    secret = 'pa"ss\\word'
    setup_logging(stream, loggers=[NAME], human=human, mask=lambda text: text.replace(secret, "***"))
    try:
        fail(secret)
    except ValueError:
        logging.getLogger(NAME).exception("with %s", secret, extra={"data": {"list": [secret]}})
    assert "pa" not in stream.getvalue().replace('File "', "").split("Traceback")[0]
    assert "word" not in stream.getvalue()
    assert stream.getvalue().count("***") == 3


def test_a_second_setup_replaces_the_first_and_leaves_the_root_alone(stream: io.StringIO) -> None:
    """No line is written twice, and nothing of other people's logging changes."""
    before = list(logging.getLogger().handlers)
    setup_logging(io.StringIO(), loggers=[NAME])
    setup_logging(stream, loggers=[NAME])
    logging.getLogger(NAME).info("once")
    assert stream.getvalue().count("once") == 1
    assert len(logging.getLogger(NAME).handlers) == 1
    assert logging.getLogger().handlers == before


def test_less_than_the_level_is_not_shown(stream: io.StringIO) -> None:
    """The level is set where the process is set up."""
    setup_logging(stream, level="warning", loggers=[NAME])
    logging.getLogger(NAME).info("too quiet")
    assert stream.getvalue() == ""

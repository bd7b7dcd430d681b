"""How our processes log: one readable line on a terminal, one JSON object elsewhere.

Code logs with ``logging.getLogger(__name__)`` and binds its context with ``structlog.contextvars``; only
processes of our own call `setup_logging`. The root logger and other people's loggers stay as they are:
the packages are also imported into services that have their own idea of logging.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

OURS = ("config", "executor", "rollback", "workers")

Mask = Callable[[str], str]


class _OurHandler(logging.StreamHandler[TextIO]):
    """Known by its class, so that a second call replaces the first one's."""


def setup_logging(
    stream: TextIO,
    *,
    level: str = "INFO",
    human: bool | None = None,
    mask: Mask | None = None,
    loggers: Iterable[str] = OURS,
) -> None:
    """Send what `loggers` say to `stream`.

    Args:
        stream: usually `sys.stderr`; standard output belongs to the data that commands print.
        level: the least level that is shown.
        human: lines for people; None: when `stream` is a terminal.
        mask: called with every text before it is written, tracebacks included; hides secrets.
        loggers: names of loggers; a worker adds Celery's.
    """
    readable = stream.isatty() if human is None else human
    handler = _OurHandler(stream)
    handler.setFormatter(_formatter(readable, mask))
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers = [kept for kept in logger.handlers if not isinstance(kept, _OurHandler)]
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        logger.propagate = False


def _formatter(readable: bool, mask: Mask | None) -> logging.Formatter:
    gathered: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if readable else "iso", utc=not readable),
    ]
    render = _line if readable else structlog.processors.JSONRenderer(default=str)
    shown: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        *([_masking(mask)] if mask else []),
        render,
    ]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=gathered, processors=shown)


def _masking(mask: Mask) -> Processor:
    # Before rendering, not after: JSON escapes quotes and backslashes, and the mask knows no escapes.
    def masked(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {masked(key): masked(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [masked(item) for item in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return mask(str(value))

    def processor(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {key: masked(value) for key, value in event.items()}

    return processor


def _line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """``12:00:01 warning workers.run: message key=value``; a line break in a message begins no new line."""
    fields = dict(event)
    time, level, name = (str(fields.pop(key, "")) for key in ("timestamp", "level", "logger"))
    message = str(fields.pop("event", "")).replace("\r", "\\r").replace("\n", "\\n")
    traceback = fields.pop("exception", "")
    context = "".join(f" {key}={value!r}" for key, value in fields.items())
    return f"{time} {level} {name}: {message}{context}" + (f"\n{traceback}" if traceback else "")

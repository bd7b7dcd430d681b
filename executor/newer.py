"""Executions that a newer release has planned: this one would misread them, so it leaves them to a newer process."""

import logging
from collections.abc import Mapping

from executor.model.plan import FORMAT

_log = logging.getLogger("rex.newer")


class Newer:
    """Tells which executions are beyond this release, and says so once of each."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, execution: str, head: Mapping[str, str]) -> bool:
        """Whether to leave it alone; what asked comes again from the outbox, until a newer coordinator answers."""
        written = int(head.get("format") or 1)
        if written <= FORMAT:
            return False
        if execution not in self._told:
            self._told.add(execution)
            _log.warning(
                "%s has format %d, and this release reads up to %d: it waits for a newer coordinator",
                execution, written, FORMAT,
            )  # fmt: skip
        return True

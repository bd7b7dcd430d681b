"""Tests wait for conditions, never for time."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    predicate: Callable[[], T],
    *,
    description: str,
    timeout_s: float = 30.0,
    every_s: float = 0.01,
    told: Callable[[], str] = str,
) -> T:
    """Ask `predicate` until it is true, and return what it said; when it never is, `told` says more about why."""
    until = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        found = predicate()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"after {timeout_s:g} s still not: {description}\n{told()}".rstrip())
        pause.wait(every_s)

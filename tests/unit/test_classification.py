"""Which errors another attempt can help."""

import errno

import pytest

from executor.model.errors import ActionError, ActionTimedOut, ChangedSince
from executor.policies.classification import classify


@pytest.mark.parametrize(
    ("error", "kind", "category", "retryable"),
    [
        (ConnectionRefusedError(), "network", "transient", True),
        (TimeoutError(), "network", "transient", True),
        (BrokenPipeError(errno.EPIPE, "x"), "network", "transient", True),
        (OSError(errno.EHOSTUNREACH, "x"), "network", "transient", True),
        (OSError(errno.ENOSPC, "x"), "resource", "transient", True),
        (OSError(errno.EMFILE, "x"), "resource", "transient", True),
        (MemoryError(), "resource", "transient", True),
        (FileNotFoundError(errno.ENOENT, "x"), "validation", "configuration", False),
        (PermissionError(errno.EACCES, "x"), "validation", "configuration", False),
        (NotADirectoryError(errno.ENOTDIR, "x"), "validation", "configuration", False),
        (OSError(errno.EIO, "x"), "process", "transient", True),
        (ValueError(), "validation", "permanent", False),
        (KeyError("x"), "validation", "permanent", False),
        (ModuleNotFoundError(), "validation", "permanent", False),
        (RuntimeError(), "process", "transient", True),
        (SystemExit(1), "process", "transient", True),
        (ActionTimedOut("x"), "timeout", "transient", True),
        (ChangedSince("x"), "validation", "external", False),
        (ActionError("x"), "process", "transient", True),
    ],
)
def test_classification(error: BaseException, kind: str, category: str, retryable: bool) -> None:
    found = classify(error)
    assert (found.type, found.category, found.retryable) == (kind, category, retryable)

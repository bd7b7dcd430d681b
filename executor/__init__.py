"""What other services and packages of action types use.

``from executor import ResolutionClient, Strategy, Action`` loads nothing of ours but `executor`, and neither Celery
nor a client of the server: names are loaded when they are first asked for.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from executor.action import (
        ActionType,
        Batch,
        Found,
        FunctionAction,
        Run,
        SavedBytes,
        Snapshot,
        Undo,
        WayBack,
        action,
    )
    from executor.async_client import AsyncResolutionClient
    from executor.client import ResolutionClient
    from executor.model.errors import (
        ActionCancelled,
        ActionError,
        ActionTimedOut,
        ChangedSince,
        Classification,
        Interrupted,
        LedgerFull,
        LedgerTrouble,
        NotAllowedNow,
        NotAvailable,
        Problem,
        RexError,
        StrategyInvalid,
        Unanswered,
        UnknownExecution,
        Unreachable,
    )
    from executor.model.strategy import Action, Model, Strategy
    from executor.snapshot import SnapshotType

    __version__: str

__all__ = [  # noqa: RUF022 - a table of contents, in the order in which a reader meets things
    # submit and follow
    "ResolutionClient",
    "AsyncResolutionClient",
    "Strategy",
    "Action",
    # write an action type
    "action",
    "ActionType",
    "FunctionAction",
    "Model",
    "Run",
    "SavedBytes",
    "Batch",
    "WayBack",
    "Found",
    "Snapshot",
    "Undo",
    "SnapshotType",
    # what can go wrong
    "RexError",
    "StrategyInvalid",
    "NotAvailable",
    "Problem",
    "LedgerTrouble",
    "Unreachable",
    "LedgerFull",
    "UnknownExecution",
    "NotAllowedNow",
    "ActionError",
    "ActionTimedOut",
    "ActionCancelled",
    "Interrupted",
    "Unanswered",
    "ChangedSince",
    "Classification",
    "__version__",
]  # fmt: skip

_PLACES = {
    "executor.client": ("ResolutionClient",),
    "executor.async_client": ("AsyncResolutionClient",),
    "executor.model.strategy": ("Strategy", "Action", "Model"),
    "executor.action": (
        "ActionType", "FunctionAction", "Run", "SavedBytes", "Batch", "WayBack", "Found", "Snapshot", "Undo",
    ),
    "executor.snapshot": ("SnapshotType",),
}  # fmt: skip
_HOME = {name: module for module, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        from importlib.metadata import version

        return version("resolution-executor")
    return getattr(importlib.import_module(_HOME.get(name, "executor.model.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Lets the decorator keep its name, to which the import system would bind the module `executor.action`."""

    @property
    def action(self) -> Any:
        return importlib.import_module("executor.action").action

    @action.setter
    def action(self, module: ModuleType) -> None:
        """Called when the module has been loaded; it stays reachable by ``from executor.action import ...``."""


sys.modules[__name__].__class__ = _Package

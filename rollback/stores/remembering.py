"""What a store of this project offers beyond `executor.action.SavedBytes`: recognising what did not change."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from executor.action import Batch, SavedBytes


class RefreshingBatch(Batch, Protocol):
    """A batch that can count as saved what was saved before; `add` may be called from several threads."""

    def refresh(self, names: Iterable[str]) -> bool:
        """Whether all of `names` are still there; then they count as saved now. Looked up, not read."""


@runtime_checkable
class Remembering(SavedBytes, Protocol):
    """A store that keeps hints."""

    def batch(self) -> AbstractContextManager[RefreshingBatch]:
        """See `executor.action.SavedBytes`."""

    def note(self, key: str, text: str) -> None:
        """Keep `text` as a hint for later."""

    def noted(self, key: str) -> str | None:
        """The hint under `key`, if there still is one."""

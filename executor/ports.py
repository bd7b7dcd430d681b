"""What the core needs of the world. Each port has a real adapter and an in-memory twin that ships."""

from collections.abc import Iterable
from typing import Protocol

from executor.action import ActionType


class ActionCatalogue(Protocol):
    """The action types that are installed here."""

    def names(self) -> Iterable[str]:
        """Every `uses` that can be written, sorted."""

    def get(self, uses: str) -> ActionType:
        """The type of that name.

        Raises:
            KeyError: no such type is installed.
        """

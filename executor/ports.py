"""What the core needs of the world. Each port has a real adapter and an in-memory twin that ships."""

from collections.abc import Iterable
from typing import Protocol

from executor.action import ActionType
from executor.model.execution import Outgoing


class ActionCatalogue(Protocol):
    """The action types that are installed here."""

    def names(self) -> Iterable[str]:
        """Every `uses` that can be written, sorted."""

    def get(self, uses: str) -> ActionType:
        """The type of that name.

        Raises:
            KeyError: no such type is installed.
        """


class Outlet(Protocol):
    """Puts entries of the outbox on the broker."""

    def send(self, outgoing: list[Outgoing]) -> None:
        """Publish each entry, and strike out those that need no answer of their own.

        What cannot be sent stays in the outbox, where a coordinator finds it.
        """

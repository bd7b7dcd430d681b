"""What devices are told to know: one document for each device, with a version."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Renewed:
    """What a worker hears when it renews."""

    stopped: frozenset[str] = frozenset()
    """Tokens of attempts that must stop."""
    news: int = 0
    """Raised with every new document; where it did not move, no device has one."""
    announced: bool = True
    """False: the ledger has forgotten the worker, and takes nobody for it."""


@dataclass(frozen=True)
class Known:
    """How far one device is."""

    version: int = 0
    """Of the document that it is to have, from 1; 0: it has none."""
    acknowledged: int = 0
    """Of the document that it has said to have."""
    at_ms: int = 0
    """When that version was written, by the ledger's clock."""

    @property
    def current(self) -> bool:
        return self.version == self.acknowledged


@dataclass(frozen=True)
class Document:
    """The document of one device."""

    version: int
    at_ms: int
    text: str
    """JSON."""


@dataclass(frozen=True)
class Synchronization:
    """What became of one document for several devices."""

    version: int
    """The highest of any of them; whoever got the document now has this one."""
    devices: Mapping[str, Known]

    @property
    def missing(self) -> tuple[str, ...]:
        """Devices that have not acknowledged."""
        return tuple(name for name, known in self.devices.items() if not known.current)

"""Where the bytes lie that a rollback needs: addressed by content, on the device that they came from."""

from rollback.stores.files import FileStore
from rollback.stores.memory import MemoryStore

__all__ = ["FileStore", "MemoryStore"]

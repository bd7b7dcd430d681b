"""The ledger in memory: for tests, for trying things out, and as the protocol in its plainest words.

`MemoryLedger` has the methods of `ValkeyLedger` and gives the same answers; one suite judges both. `moves` reads as the
specification of the Lua prelude, `ledger` as that of the scripts.
"""

from executor.ledger.memory.ledger import MemoryLedger

__all__ = ["MemoryLedger"]

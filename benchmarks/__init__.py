"""rex beside raw Celery: the same graphs, in one process tree, one after the other and round by round.

What is compared:

- One server (valkey-server, AOF as it is by default: every second) carries everything: messages, results, ledger.
- *celery*: canvases as Celery offers them. Late acknowledgement, prefetch 1, JSON, every result kept, task events on,
  the same settings of the transport. The client waits with ``get(propagate=False)``, because the default walks all
  parents on each result. Its workers do nothing but return a number.
- *rex* with fusing off, one message per action: strategies of ``wait`` with ``for: 0ms``, submitted and awaited with
  `ResolutionClient`. So the time includes validation, planning, the ledger, events and the final report.
- *rex fused*, the default: neighbours of a sequence on one device share a message.

Each side has three worker processes with the ``threads`` pool and the same concurrency: two serve the devices, where
actions run, and one serves what Celery or rex does between them (bodies of chords, error callbacks; the coordinator).
Actions are spread over the devices alike.

Failing at the tenth of ten with nine compensations is, in raw Celery, a chain with a bound error callback that starts a
chain of nine; the client waits for the end of that.

The sides take turns within each round, so that what else the machine does meets all of them. Figures are medians; read
the ratios, not the milliseconds.
"""

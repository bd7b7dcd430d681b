"""`ResolutionClient` for those who await: each call runs in a thread of its own."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from executor.client import PATIENCE_S, Json, ResolutionClient, Rows
from executor.model.strategy import Strategy

if TYPE_CHECKING:
    from executor.ports import Queues


class AsyncResolutionClient:
    """The same, to be awaited; each call runs in a thread of its own."""

    def __init__(self, ledger_url: str, *, name: str = "client", patience_s: float = PATIENCE_S) -> None:
        self._client = ResolutionClient(ledger_url, name=name, patience_s=patience_s)

    async def __aenter__(self) -> "AsyncResolutionClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)

    async def submit(
        self,
        strategy: Strategy | Json,
        *,
        inputs: Json | None = None,
        context: Json | None = None,
        execution_id: str | None = None,
    ) -> str:
        return await asyncio.to_thread(
            self._client.submit, strategy, inputs=inputs, context=context, execution_id=execution_id
        )

    async def status(self, execution: str) -> Json:
        return await asyncio.to_thread(self._client.status, execution)

    async def result(self, execution: str, *, timeout_s: float | None = None) -> Json:
        return await asyncio.to_thread(self._client.result, execution, timeout_s=timeout_s)

    async def events(self, execution: str, *, after: int = 0, follow: bool = True) -> AsyncIterator[Json]:
        found = self._client.events(execution, after=after, follow=follow)
        while (event := await asyncio.to_thread(next, found, None)) is not None:
            yield event

    async def list(self, *, limit: int = 50) -> Rows:
        return await asyncio.to_thread(self._client.list, limit=limit)

    async def cancel(self, execution: str, *, reason: str = "", undo: bool = True) -> None:
        await asyncio.to_thread(self._client.cancel, execution, reason=reason, undo=undo)

    async def plan_rollback(self, execution: str, **wanted: Any) -> Json:
        return await asyncio.to_thread(self._client.plan_rollback, execution, **wanted)

    async def rollback(self, execution: str, **wanted: Any) -> None:
        await asyncio.to_thread(self._client.rollback, execution, **wanted)

    async def offered(self, execution: str) -> Json | None:
        return await asyncio.to_thread(self._client.offered, execution)

    async def choose(self, execution: str, choices: Mapping[str, str], *, by: str = "") -> None:
        await asyncio.to_thread(self._client.choose, execution, choices, by=by)

    async def synchronize_state(self, state: Json, **wanted: Any) -> Json:
        return await asyncio.to_thread(self._client.synchronize_state, state, **wanted)

    async def workers(self) -> Rows:
        return await asyncio.to_thread(self._client.workers)

    async def devices(self, queues: "Queues | None" = None) -> Rows:
        return await asyncio.to_thread(self._client.devices, queues)

    async def drain(self, device: str, *, reason: str = "", by: str = "") -> bool:
        return await asyncio.to_thread(self._client.drain, device, reason=reason, by=by)

    async def undrain(self, device: str, *, by: str = "") -> int | None:
        return await asyncio.to_thread(self._client.undrain, device, by=by)

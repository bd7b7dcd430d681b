"""A service that lets the executor do the work: it hands a strategy over and waits for the report.

    python service.py redis://localhost:6379/0 /srv/site

Once with the blocking client, once with the one to be awaited.
"""

import asyncio
import sys
from pathlib import Path

from executor import Action, AsyncResolutionClient, ResolutionClient, Strategy


def maintenance_on(folder: str) -> Strategy:
    """A strategy built in Python, from the same models as the YAML file."""
    page = {"path": f"{folder}/maintenance.html", "content": "Back soon."}
    return Strategy(
        name="maintenance-on",
        actions=[Action(id="page", uses="file.create", device="edge-1", with_=page)],
    )


def maintenance_off(folder: str) -> dict[str, object]:
    """The same structure as plain JSON."""
    page = {"id": "page", "uses": "file.delete", "device": "edge-1", "with": {"path": f"{folder}/maintenance.html"}}
    return {"name": "maintenance-off", "actions": [page]}


def switch_on(url: str, folder: str) -> None:
    with ResolutionClient(url, name="site") as client:
        execution = client.submit(maintenance_on(folder))
        for event in client.events(execution):
            print(event["seq"], event["event"])
        print("on:", client.result(execution, timeout_s=60)["status"])


async def switch_off(url: str, folder: str) -> None:
    async with AsyncResolutionClient(url, name="site") as client:
        execution = await client.submit(maintenance_off(folder))
        report = await client.result(execution, timeout_s=60)
        print("off:", report["status"])


if __name__ == "__main__":
    ledger_url, site = sys.argv[1], str(Path(sys.argv[2]).resolve())
    switch_on(ledger_url, site)
    asyncio.run(switch_off(ledger_url, site))

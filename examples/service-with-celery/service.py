"""A service that has Celery and redis, and nothing of ours: it sends a task by its name.

    python service.py redis://localhost:6379/0 /srv/site

The task keeps no result in Celery; what becomes of the execution stands in the ledger. The stream of its events is
plain Redis: `XREAD` waits for them until one of the last ones comes.
"""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

import redis
from celery import Celery

LAST = {f"execution:{state}" for state in ("completed", "failed", "cancelled", "refused", "rolled_back")}


def strategy(folder: str) -> dict[str, Any]:
    page = {"path": f"{folder}/maintenance.html", "content": "${{ inputs.text }}"}
    return {
        "name": "maintenance-on",
        "inputs": {"text": {"type": "string", "default": "Back soon."}},
        "actions": [{"id": "page", "uses": "file.create", "device": "edge-1", "with": page}],
    }


def enqueue(url: str, document: dict[str, Any], **inputs: Any) -> str:
    """Send it; the task's id is the execution's."""
    app = Celery(broker=url)
    execution = str(uuid.uuid4())
    app.send_task(
        "executor.execute_strategy", [document], {"inputs": inputs}, queue="control", task_id=execution,
        ignore_result=True,
    )  # fmt: skip
    app.close()
    return execution


def follow(url: str, execution: str, timeout_s: int = 60) -> tuple[str, dict[str, Any]]:
    """Wait for the last event: its name, and what it says."""
    server = redis.Redis.from_url(url, decode_responses=True)
    stream, after = f"rex:{{0}}:ev:{execution}", "0"
    while found := server.xread({stream: after}, block=1000 * timeout_s):
        for after, fields in found[0][1]:
            print(after.partition("-")[0], fields["n"])
            if fields["n"] in LAST:
                return fields["n"], json.loads(fields["d"])
    raise TimeoutError(f"no event of {execution} for {timeout_s} s")


if __name__ == "__main__":
    broker_url, site = sys.argv[1], str(Path(sys.argv[2]).resolve())
    sent = enqueue(broker_url, strategy(site), text="Back at noon.")
    name, data = follow(broker_url, sent)
    print(f"{sent}: {name}", data["error"] or "")

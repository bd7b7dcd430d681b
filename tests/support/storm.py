"""Random strategies under random faults, and the judge: the effect log, and what the report says of it."""

import json
import random
from collections import Counter
from typing import Any

DEVICES = ("edge-1", "edge-2", "edge-3")


def random_strategy(chance: random.Random, number: int) -> dict[str, Any]:
    """Up to 12 actions of any shape; each logs what it does as ``number:do:id``, each undo as ``number:undo:id``."""
    model = chance.choice(["sequential", "parallel", "phased"])
    count = chance.randint(1, 12)
    bad = chance.randrange(count) if chance.random() < 0.6 else -1
    actions = [_action(chance, number, n, fails=n == bad) for n in range(count)]
    strategy: dict[str, Any] = {"name": f"storm-{number}", "model": model, "limits": {"parallel": chance.randint(1, 6)}}
    if model == "phased":
        cut = chance.randint(1, count)
        parts = [part for part in (actions[:cut], actions[cut:]) if part]
        strategy["phases"] = [{"name": f"p{n}", "actions": part} for n, part in enumerate(parts)]
    else:
        strategy["actions"] = actions
    return strategy


def _action(chance: random.Random, number: int, n: int, *, fails: bool) -> dict[str, Any]:
    def logs(word: str, after: str) -> dict[str, Any]:
        return {"run": f"echo {number}:{word}:a{n} >> $EFFECTS && sync $EFFECTS && {after}"}

    nap = f"sleep {chance.choice([0, 0, 0.05, 0.3])}"
    made: dict[str, Any] = {
        "id": f"a{n}", "uses": "command", "device": chance.choice(DEVICES), "retry": "none",
        "with": logs("do", "false" if fails else nap),
        "compensate": {"uses": "command", "with": logs("undo", nap), "retry": "none",
                       "after": chance.choice(["completed", "started"])},
    }  # fmt: skip
    if fails and chance.random() < 0.2:
        made["on_failure"] = "continue"
    if chance.random() < 0.3:
        made["idempotent"] = True
    return made


def judge(strategy: dict[str, Any], report: dict[str, Any], lines: list[str]) -> list[str]:
    """What is wrong with how an execution ended; empty when every invariant holds."""
    number = strategy["name"].rpartition("-")[2]
    counts = Counter(line.partition(":")[2] for line in lines if line.startswith(f"{number}:"))
    listed = strategy.get("actions") or [a for phase in strategy["phases"] for a in phase["actions"]]
    left = {entry["action"] for entry in report["rollback"]["remaining"]}
    taken_back = {entry["action"] for entry in report["rollback"]["compensated"]}
    wrong: list[str] = []
    if report["status"] not in ("completed", "failed") or not report["actions"]:
        return [f"{report['execution_id']} ended as {report['status']}: {report['error']}"]
    for made in listed:
        name = made["id"]
        told = report["actions"][name]
        did, undid = counts[f"do:{name}"], counts[f"undo:{name}"]
        if did > 1 and not made.get("idempotent"):
            wrong.append(f"{name} was done {did} times")
        if undid > 1:
            wrong.append(f"{name} was taken back {undid} times")
        if told["status"] == "succeeded" and did == 0:
            wrong.append(f"{name} is said to have succeeded, and was never done")
        if report["status"] == "completed":
            if undid:
                wrong.append(f"{name} was taken back though all went well")
            continue
        failed_for_good = told["status"] == "failed" and (told["error"] or {}).get("type") == "ActionError"
        if did and not undid and name not in left and not failed_for_good:
            wrong.append(f"{name} was done, is {told['status']}, and was neither taken back nor listed")
        if name in taken_back and not undid:
            wrong.append(f"{name} is said to be taken back, and was not")
        if name in taken_back and name in left:
            wrong.append(f"{name} is both taken back and left")
    return [f"{report['execution_id']}: {problem}" for problem in wrong]


def autopsy(ledger: Any, executions: list[str]) -> str:
    """What the ledger says of executions that have not ended."""
    told = [f"counters {ledger.counters()}, swept {ledger.to_sweep()}, outbox {ledger.outbox_size()}"]
    for execution in executions:
        head = ledger.head(execution)
        if "finished" in head:
            continue
        generation = int(head["gen"])
        told.append(json.dumps({k: v for k, v in head.items() if not k.startswith("sizes")}))
        rows = ledger.actions(execution, generation, list(ledger.steps(execution, generation)))
        told += [f"{name}: {row}" for name, row in rows.items() if "finished" not in row]
        told.append(f"waiting {ledger.waiting(execution, generation, list(rows))}, now {ledger.now_ms()}")
        told += [str(event) for event in ledger.events(execution)[-6:]]
    return "\n".join(told)


def shown(strategy: dict[str, Any], report: dict[str, Any]) -> str:
    return json.dumps(strategy) + "\n" + json.dumps(report, indent=1)

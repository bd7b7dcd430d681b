"""`rex run`, `rex submit`, `rex watch`: hand a strategy over, and follow it."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from executor.cli import strategies
from executor.cli.connecting import Cluster, connect, find_cluster, settings
from executor.cli.earlier import tell_of_earlier
from executor.cli.embedded import EmbeddedCluster
from executor.cli.following import Follower, Interrupts, Left, Report, TookTooLong, ask_for_cancel
from executor.cli.output import note, say, say_json
from executor.cli.progress import Progress
from executor.cli.statuses import LEFT, REMAINING, STILL_RUNS, exit_status
from executor.cli.streams import forgive_output
from executor.cli.summary import summary
from executor.cli.views import view_for

_CONCURRENCY = 4


def run(
    file: Path, *, inputs: list[str], context: Path | None, as_json: bool, wait_s: float | None, config: Path | None
) -> int:
    """Check, submit, follow; returns the exit status."""
    forgive_output()
    found = settings(config)
    given = strategies.read(file, inputs, context)
    _warn(given)
    tell_of_earlier(found.state_dir)
    cluster = find_cluster(found)
    if cluster is not None:
        return _run_on(cluster, given, as_json=as_json, wait_s=wait_s, own=None)
    devices = strategies.devices_of(given.strategy, os.environ)
    own = EmbeddedCluster(devices, concurrency=_CONCURRENCY, state_dir=found.state_dir, config_file=config)
    with own:
        own.launch()
        address = replace(own.address(), interval_s=found.monitoring.interval.total_seconds())
        return _run_on(address, given, as_json=as_json, wait_s=wait_s, own=own)


def _warn(given: strategies.Given) -> None:
    for warning in given.warnings:
        note(f"warning: {warning}")


def _run_on(
    cluster: Cluster, given: strategies.Given, *, as_json: bool, wait_s: float | None, own: EmbeddedCluster | None
) -> int:
    interrupts = Interrupts()
    with interrupts.counting(), cluster.client() as client:
        if own is not None:
            own.keep_unfinished()
        execution = client.submit(given.document, inputs=given.inputs, context=given.context)
        status, report = _follow(cluster, execution, given.strategy.name, as_json=as_json, wait_s=wait_s, own=own,
                                 interrupts=interrupts)  # fmt: skip
    if own is not None and report is not None:
        if status == REMAINING and own.has_saved_bytes:
            own.keep(f"something of {execution} is left for a person")
            saved = own.folder / "saved"
            note(f"bytes from before lie in {saved}; remove {own.folder} when they are not needed any more")
        else:
            own.release()
    return status


def _follow(
    cluster: Cluster,
    execution: str,
    title: str,
    *,
    as_json: bool,
    wait_s: float | None,
    own: EmbeddedCluster | None,
    interrupts: Interrupts,
) -> tuple[int, Report | None]:
    progress = Progress()
    with cluster.client() as client:
        view = view_for(progress, title, as_json=as_json, interval_s=cluster.interval_s)
        command = f"REX_STATE_DIR={shlex.quote(str(own.folder))} rex" if own is not None else "rex"
        follower = Follower(client, execution, view, progress, command=command)
        try:
            with view:
                report = follower.follow(
                    wait_s=wait_s,
                    interrupts=interrupts,
                    on_interrupt=lambda: ask_for_cancel(client, execution, view, interrupts.reason),
                )
        except Left:
            note(_still_there(execution, own, "left"))
            return LEFT, None
        except TookTooLong:
            note(_still_there(execution, own, "--wait ran out"))
            return STILL_RUNS, None
    if as_json:
        say_json(report)
    else:
        say(summary(report))
    return exit_status(report), report


def _still_there(execution: str, own: EmbeddedCluster | None, why: str, *, rolls_back: bool = False) -> str:
    if rolls_back:
        return f"{why}; the rollback of {execution} goes on: `rex watch {execution}` follows it"
    if own is None:
        return (
            f"{why}; execution {execution} still runs: `rex watch {execution}` follows it, "
            f"`rex cancel {execution}` ends it"
        )
    return (
        f"{why}; the cluster of this run was its own and is stopped hard: execution {execution} stands still as it is. "
        f"It goes on, to its end or back, with: {own.left_unfinished()}"
    )


def submit(file: Path, *, inputs: list[str], context: Path | None, as_json: bool, config: Path | None) -> int:
    """Hand a strategy over and say its id."""
    given = strategies.read(file, inputs, context)
    _warn(given)
    with connect(config).client() as client:
        execution = client.submit(given.document, inputs=given.inputs, context=given.context)
    if as_json:
        say_json({"execution_id": execution, "strategy": given.strategy.name})
    else:
        say(execution)
    return 0


def watch(execution: str, *, as_json: bool, wait_s: float | None, config: Path | None) -> int:
    """Follow an execution that was submitted; Ctrl-C leaves it alone."""
    cluster = connect(config)
    with cluster.client() as client:
        title = client.status(execution)["strategy"]
    return follow(cluster, execution, title, as_json=as_json, wait_s=wait_s)[0]


def follow(
    cluster: Cluster,
    execution: str,
    title: str,
    *,
    as_json: bool,
    wait_s: float | None,
    after: int = 0,
    known: Mapping[str, Any] | None = None,
) -> tuple[int, Report | None]:
    """Follow an execution that is not ours to cancel.

    Args:
        cluster: where it runs.
        execution: its id.
        title: what stands above.
        as_json: whether the report is all that is printed.
        wait_s: at most so many seconds.
        after: begin behind this event.
        known: its actions as they were then, as the report has them.

    Returns:
        The exit status, and the report; None where it was left.
    """
    forgive_output()
    with cluster.client() as client:
        progress = Progress()
        progress.know(known or {})
        view = view_for(progress, title, as_json=as_json, interval_s=cluster.interval_s)
        interrupts = Interrupts()
        try:
            with interrupts.counting(), view:
                report = Follower(client, execution, view, progress, after=after).follow(
                    wait_s=wait_s, interrupts=interrupts, on_interrupt=_leave
                )
        except Left:
            note(_still_there(execution, None, "left", rolls_back=after > 0))
            return LEFT, None
        except TookTooLong:
            note(_still_there(execution, None, "--wait ran out", rolls_back=after > 0))
            return STILL_RUNS, None
    if as_json:
        say_json(report)
    else:
        say(summary(report))
    return exit_status(report), report


def _leave() -> None:
    raise Left

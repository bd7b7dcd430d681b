"""`rex run`, `submit`, `watch`, `status`, `result`, `list`, `cancel`."""

from typing import Annotated

import typer

from executor.cli.options import Config, Context, Execution, File, Inputs, Json, Wait, leave_with, seconds_of

app = typer.Typer()


@app.command()
def run(
    file: File,
    *,
    given: Inputs = None,
    context: Context = None,
    json: Json = False,
    wait: Wait = None,
    config: Config = None,
) -> None:
    """Carry out a strategy and follow it.

    Without REX_BROKER_URL, and without a running `rex up`, everything it needs is started for it and ended with it.
    Ctrl-C asks for cancel, with everything taken back; a second one leaves. Exit status: 0 completed, 1 failed and
    nothing is left, 2 the strategy or the call is wrong, 3 something is left for a person, 4 cancelled, 5 refused,
    6 --wait ran out, 7 no broker or ledger, 130 left.
    """
    from executor.cli import running_strategies

    leave_with(
        running_strategies.run(
            file, inputs=given or [], context=context, as_json=json, wait_s=seconds_of(wait), config=config
        )
    )


@app.command()
def submit(
    file: File, given: Inputs = None, context: Context = None, json: Json = False, config: Config = None
) -> None:
    """Hand a strategy over and print the id of its execution."""
    from executor.cli import running_strategies

    leave_with(running_strategies.submit(file, inputs=given or [], context=context, as_json=json, config=config))


@app.command()
def watch(execution: Execution, json: Json = False, wait: Wait = None, config: Config = None) -> None:
    """Follow an execution to its end; exit status as of `rex run`. Ctrl-C leaves it running."""
    from executor.cli import running_strategies

    leave_with(running_strategies.watch(execution, as_json=json, wait_s=seconds_of(wait), config=config))


@app.command()
def status(execution: Execution, json: Json = False, config: Config = None) -> None:
    """Show how far an execution is."""
    from executor.cli import asking

    leave_with(asking.status(execution, as_json=json, config=config))


@app.command()
def result(execution: Execution, json: Json = False, wait: Wait = None, config: Config = None) -> None:
    """Wait for the end of an execution and show its result; exit status as of `rex run`."""
    from executor.cli import asking

    leave_with(asking.result(execution, as_json=json, wait_s=seconds_of(wait), config=config))


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """List executions, the newest first; those that run before those that have ended."""
    from executor.cli import asking

    leave_with(asking.list_executions(limit, as_json=json, config=config))


@app.command()
def cancel(
    execution: Execution,
    rollback: Annotated[bool, typer.Option("--rollback/--no-rollback", help="Take back what was done.")] = True,
    reason: Annotated[str, typer.Option(help="Kept with the execution.")] = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Ask for the end of an execution: no action begins any more, and what was done is taken back."""
    from executor.cli import asking

    leave_with(asking.cancel(execution, undo=rollback, reason=reason, as_json=json, config=config))

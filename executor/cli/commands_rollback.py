"""`rex rollback`."""

from typing import Annotated, Literal

import typer

from executor.cli.options import Config, Execution, Json, Wait, leave_with, seconds_of

app = typer.Typer()

Mechanism = Literal["adaptive", "compensate", "snapshot", "partial", "phased", "guided"]


@app.command()
def rollback(
    execution: Execution,
    choices: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ACTION=WISH]...", help="With --choose: undo, keep or retry for each action."),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would do, and do nothing.")] = False,
    actions: Annotated[
        str | None,
        typer.Option(
            metavar="ID,...", help="Take back only these actions; of one on several devices also restart@edge-1."
        ),
    ] = None,
    mechanism: Annotated[Mechanism | None, typer.Option(help="How; as its strategy says when left out.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Take up what an earlier rollback left.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what others changed since.")] = False,
    choose: Annotated[bool, typer.Option("--choose", help="Answer a guided rollback that waits for a person.")] = False,
    by: Annotated[str, typer.Option(metavar="NAME", help="Who asks; left out: your name on this machine.")] = "",
    json: Json = False,
    wait: Wait = None,
    config: Config = None,
) -> None:
    """Take back an execution that has ended, or answer one that asks what is to be undone; and follow it.

    Exit status: 0 everything asked for is taken back, 2 it cannot be, 3 something is left for a person, 6 --wait ran
    out, 7 no broker, ledger or coordinator, 130 left.
    """
    from executor.cli import rolling_back

    named = tuple(name.strip() for name in (actions or "").split(",") if name.strip())
    if actions is not None and not named:
        raise typer.BadParameter("--actions names no action: leave it out to take back all, or name some")
    asked = rolling_back.Asked(
        execution,
        mechanism=mechanism,
        actions=named,
        retry=retry,
        force=force,
        by=by,
        as_json=json,
        wait_s=seconds_of(wait),
        config=config,
    )
    if choose and (dry_run or named or mechanism or retry or force):
        raise typer.BadParameter("--choose answers what is asked: it goes with choices, and with no other way")
    if named and mechanism not in (None, "partial"):
        raise typer.BadParameter(f"--actions takes back parts: it does not go with --mechanism {mechanism}")
    if choose:
        leave_with(rolling_back.answer(asked, choices or []))
    if choices:
        raise typer.BadParameter(f"{choices[0]!r} is a choice: it goes with --choose")
    leave_with(rolling_back.show(asked) if dry_run else rolling_back.take_back(asked))

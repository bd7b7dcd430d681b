"""`rex validate`, `plan`, `schema`, `actions`: before anything runs; none of them needs a cluster."""

from typing import Annotated

import typer

from executor.cli.options import Config, File, Json, leave_with

app = typer.Typer()


@app.command()
def validate(file: File, json: Json = False) -> None:
    """Check a strategy: every problem with its place, or "ok"."""
    from executor.cli import before

    leave_with(before.validate(file, as_json=json))


@app.command()
def plan(file: File, json: Json = False, config: Config = None) -> None:
    """Show what a strategy becomes: stages, canvases, messages; and, where a cluster runs, devices and why these."""
    from executor.cli import planned

    leave_with(planned.plan(file, as_json=json, config=config))


@app.command()
def schema() -> None:
    """Print the JSON Schema of the strategy file, for editors."""
    from executor.cli import before

    leave_with(before.schema())


@app.command()
def actions(
    name: Annotated[str | None, typer.Argument(help="One type, with its parameters.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """List the action types that are installed here, or one of them with its parameters and results."""
    from executor.cli import before

    leave_with(before.actions(name, as_json=json))

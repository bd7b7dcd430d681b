"""`rex sync`: what devices are told."""

from pathlib import Path
from typing import Annotated, Any

import typer

from executor.cli.options import Config, Json, Wait, leave_with, seconds_of

app = typer.Typer()


@app.command()
def sync(
    file: Annotated[
        Path, typer.Argument(help="A map of values: YAML or JSON; - reads standard input.", show_default=False)
    ],
    device: Annotated[
        list[Any] | None, typer.Option("--device", metavar="ID", help="A device; repeatable. All by default.")
    ] = None,
    json: Json = False,
    wait: Wait = None,
    config: Config = None,
) -> None:
    """Give devices a document, such as settings, policies or feature flags; action code reads it as `run.state`.

    Devices that nobody serves get it when they are back. The same content again is no new version. Waits for
    `distributed.synchronization_interval`, or for the length given. Exit status: 0 all have it, 2 the document may not
    be kept so, 6 some have not acknowledged it, 7 no ledger.
    """
    from executor.cli import synchronizing

    leave_with(synchronizing.sync(file, device, as_json=json, wait_s=seconds_of(wait), config=config))

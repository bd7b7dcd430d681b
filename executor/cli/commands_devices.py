"""`rex sync`, `rex scale`: what devices are told, and by how many workers they are served."""

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


@app.command()
def scale(
    device: Annotated[Any, typer.Argument(metavar="DEVICE", help="The device.", show_default=False)],
    number: Annotated[int, typer.Argument(min=0, max=64, metavar="N", help="Worker processes.", show_default=False)],
    json: Json = False,
    wait: Wait = None,
    config: Config = None,
) -> None:
    """Have a device of the cluster that `rex up` runs here served by N worker processes; 0: by none.

    Those that are too many end in order: what they run they finish, the rest is done by the others. Exit status:
    0 done, 2 the cluster is not one of this machine, 6 not in time, 7 no cluster runs here.
    """
    from executor.cli import scaling

    leave_with(scaling.scale(device, number, as_json=json, wait_s=seconds_of(wait), config=config))

"""`rex up`, `worker`, `coordinator`, `devices`, `drain`, `doctor`: the cluster."""

from typing import Annotated

import typer

from executor.cli.options import (
    Agent,
    Capabilities,
    Concurrency,
    Config,
    Devices,
    Json,
    Labels,
    Scales,
    Wait,
    leave_with,
    seconds_of,
)

app = typer.Typer()


@app.command()
def up(
    *,
    device: Devices = None,
    concurrency: Concurrency = 4,
    scale: Scales = None,
    label: Labels = None,
    capability: Capabilities = None,
    flower: Annotated[bool, typer.Option("--flower", help="Flower too, on loopback.")] = False,
    flower_port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = 5555,
    json: Json = False,
    config: Config = None,
) -> None:
    """Run a whole cluster here: an embedded server, a coordinator, and a worker for each device (`local` by default).

    Stays until Ctrl-C. What is unfinished then goes on at the next start. Other `rex` commands find it by themselves.
    Flower listens on 127.0.0.1 without a password, open to everybody on this machine; FLOWER_BASIC_AUTH=user:password
    puts one before it.
    """
    from executor.cli import roles

    roles.announce(label or [], capability or [])
    wanted = roles.UpWanted(device or ["local"], concurrency, dict(scale or ()), flower_port if flower else None)
    roles.up(wanted, as_json=json, config=config)


@app.command()
def worker(
    *,
    device: Devices = None,
    agent: Agent = None,
    concurrency: Concurrency = 4,
    label: Labels = None,
    capability: Capabilities = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Serve devices: a worker that is started again when it dies or stands still."""
    from executor.cli import roles

    roles.announce(label or [], capability or [])
    roles.worker(device or [], agent, concurrency, as_json=json, config=config)


@app.command()
def coordinator(json: Json = False, config: Config = None) -> None:
    """Coordinate: begins, advances and ends executions, and watches the workers."""
    from executor.cli import roles

    roles.coordinator(as_json=json, config=config)


@app.command()
def devices(
    *,
    once: Annotated[bool, typer.Option("--once", help="One table, on a terminal too.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show devices: their state and why, labels, load, what runs and waits there, and when they were last heard.

    On a terminal the table goes on until Ctrl-C. A device that nobody serves any more stays in it for the retention
    time.
    """
    from executor.cli import fleet

    leave_with(fleet.devices(once=once, as_json=json, config=config))


@app.command()
def drain(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Its id.", show_default=False)],
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Give it work again.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown by `rex devices`.")] = "",
    wait: Wait = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Give a device nothing new: what runs there finishes, the rest waits or goes elsewhere.

    What is taken back is taken back there all the same. With --wait until nothing runs there.
    """
    from executor.cli import fleet

    wait_s = seconds_of(wait)
    leave_with(fleet.drain(device, undo=undo, reason=reason, wait_s=wait_s, as_json=json, config=config))


@app.command()
def doctor(json: Json = False, config: Config = None) -> None:
    """Check Python, server, cluster and settings, and say what to do.

    Exit status: 0 nothing is wrong (warnings are not), 1 something is, 7 broker or ledger cannot be reached.
    """
    from executor.cli import doctor as examination

    leave_with(examination.doctor(as_json=json, config=config))

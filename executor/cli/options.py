"""Options and arguments that several commands have."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

File = Annotated[Path, typer.Argument(help="The strategy: YAML or JSON; - reads standard input.", show_default=False)]
Execution = Annotated[str, typer.Argument(metavar="ID", help="The execution's id.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="A TOML file of settings.")]
Inputs = Annotated[list[str] | None, typer.Option("--input", metavar="NAME=VALUE", help="An input; may be repeated.")]
Context = Annotated[Path | None, typer.Option("--context", metavar="FILE", help="What expressions read as `context`.")]
Concurrency = Annotated[int, typer.Option(min=1, max=1000, help="Actions that a worker runs at once.")]


def _length(text: str) -> timedelta:
    from executor.model.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Wait = Annotated[
    timedelta | None,
    typer.Option("--wait", metavar="LENGTH", parser=_length, help="Wait no longer, such as 10m; status 6 after that."),
]


def _device(text: str) -> str:
    import re

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}(:[a-z0-9][a-z0-9-]{0,62})?", text):
        raise typer.BadParameter(
            f"{text!r} is no device: letters, digits, dots, dashes and underscores, at most 63; of one that is an "
            "agent then a colon and its kind"
        )
    return text


Devices = Annotated[
    list[Any] | None,
    typer.Option("--device", metavar="ID[:KIND]", parser=_device, help="A device, and its kind of agent; repeatable."),
]


def _scale(text: str) -> tuple[str, int]:
    from executor.cli.scale_file import check_scale

    device, _, number = text.partition("=")
    try:
        check_scale(device, int(number) if number.isdecimal() else number)
    except ValueError as error:
        raise typer.BadParameter(f"{error}; write --scale edge-1=2") from None
    return device, int(number)


Scales = Annotated[
    list[Any] | None,
    typer.Option("--scale", metavar="ID=N", parser=_scale, help="Worker processes of a device; repeatable. 1 each."),
]


def _agent(text: str) -> str:
    import re

    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text):
        raise typer.BadParameter(f"{text!r} is no kind of agent: lower-case letters, digits and dashes, at most 63")
    return text


Agent = Annotated[
    Any, typer.Option("--agent", metavar="KIND", parser=_agent, help="Its devices are agents of that kind.")
]


def _label(text: str) -> str:
    from executor.model.device import parse_labels

    try:
        parse_labels([text])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


Labels = Annotated[
    list[Any] | None,
    typer.Option("--label", metavar="NAME=VALUE", parser=_label, help="A label of the devices; repeatable."),
]


def _capability(text: str) -> str:
    from executor.model.device import parse_capabilities

    try:
        parse_capabilities([text])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


Capabilities = Annotated[
    list[Any] | None,
    typer.Option("--capability", metavar="TEXT", parser=_capability, help="What the devices can do; repeatable."),
]


def seconds_of(wait: timedelta | None) -> float | None:
    """The length in seconds."""
    return None if wait is None else wait.total_seconds()


def leave_with(status: int) -> NoReturn:
    """End the command."""
    raise typer.Exit(status)

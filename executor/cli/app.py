"""The commands of `rex`. What a command does stands elsewhere, and is imported when it runs."""

import typer

from executor.cli import commands_before, commands_cluster, commands_devices, commands_rollback, commands_running

app = typer.Typer(
    name="rex",
    help="Carries out recovery strategies on many devices, and takes them back when they fail.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _rex() -> None: ...


for commands in (commands_running, commands_rollback, commands_before, commands_cluster, commands_devices):
    app.add_typer(commands.app)

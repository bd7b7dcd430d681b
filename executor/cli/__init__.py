"""The command `rex`. Every command imports what it needs when it runs: `rex --help` must be quick."""


def main() -> None:
    """Run the command line, and leave with its exit status."""
    from executor.cli.entry import run

    run()

"""The command `rex`. Every command imports what it needs when it runs: `rex --help` must be quick."""

import signal


def main() -> None:
    """Run the command line, and leave with its exit status."""
    # before anything else is imported: who is interrupted while it starts ends without a word, not with a traceback
    for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(which) is not signal.SIG_IGN:
            signal.signal(which, _end)
    from executor.cli.entry import run

    run()


def _end(number: int, _: object) -> None:
    # an exception, so that what was begun is ended and removed on the way out
    raise SystemExit(128 + number)

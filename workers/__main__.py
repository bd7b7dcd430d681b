"""``python -m workers``: Celery's worker command for our app, with its options, and nothing else of `celery`.

``celery -A workers worker`` does the same. It loads the other commands and Flower first, which takes as long as all the
rest of a start.
"""

from celery.bin.base import CLIContext
from celery.bin.worker import worker

from workers.celery import app


def main() -> None:
    """Serve until the end; the arguments are those that follow ``celery worker``."""
    worker.main(
        prog_name="celery worker",
        auto_envvar_prefix="CELERY_WORKER",
        obj=CLIContext(app=app, no_color=None, workdir=None, quiet=True),
    )


if __name__ == "__main__":
    main()

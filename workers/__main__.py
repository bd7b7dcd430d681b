"""``python -m workers``: one Celery worker of our app, which is what `rex` starts.

``celery -A workers worker`` is the same worker; that command loads all the others of Celery, and Flower, first.
"""

import argparse
import sys

from celery.utils.nodenames import default_nodename, host_format

from workers.celery import app


def main() -> None:
    """Serve until the end."""
    given = _arguments()
    worker = app.Worker(
        hostname=host_format(default_nodename(given.hostname)),
        queues=given.queues.split(","),
        concurrency=given.concurrency,
        loglevel=given.loglevel,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers", description="One Celery worker.")
    parser.add_argument("--queues", required=True, help="with commas between")
    parser.add_argument("--concurrency", required=True, type=int)
    parser.add_argument("--hostname", required=True, help="NAME, or NAME@HOST")
    parser.add_argument("--loglevel", default="WARNING")
    return parser.parse_args()


if __name__ == "__main__":
    main()

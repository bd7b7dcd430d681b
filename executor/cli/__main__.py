"""``python -m executor.cli`` is `rex`."""

import sys

if sys.path and not sys.flags.safe_path:
    del sys.path[0]  # the working directory: a `config.py` that lies there is none of ours

from executor.cli import main

main()

"""Which processes are wanted, as the scale file says; followed while the cluster runs."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from executor.cli.scale_file import read_scale, scale_path
from workers.keeper import Kept

_log = logging.getLogger("rex.scale")

Signature = tuple[int, int, int]


class WantedProcesses:
    """Asked by the keeper in each of its turns, so it costs one look at the file, and never raises."""

    def __init__(self, state_dir: Path, make: Callable[[Mapping[str, int]], Sequence[Kept]]) -> None:
        """
        Args:
            state_dir: where the file is.
            make: all processes of the cluster, by how many each device has.
        """
        self._state_dir = state_dir
        self._make = make
        self._seen = self._signature()

    def __call__(self) -> Sequence[Kept] | None:
        """All processes that are wanted from now on; None: nothing has changed, or what stands there is nonsense."""
        found = self._signature()
        if found is None or found == self._seen:
            return None
        self._seen = found
        try:
            return self._make(read_scale(self._state_dir))
        except (OSError, ValueError, RecursionError) as error:
            _log.error("%s: %s; all stays as it is", scale_path(self._state_dir), error)
            return None

    def _signature(self) -> Signature | None:
        try:
            found = scale_path(self._state_dir).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

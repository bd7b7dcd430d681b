"""Devices: which one does what, and what becomes of an execution when one fails."""

from executor.distribution.coordinator import Context, DistributedCoordinator, Distribution, Share
from executor.distribution.failing import Fate
from executor.distribution.placement import Fleet

__all__ = ["Context", "DistributedCoordinator", "Distribution", "Fate", "Fleet", "Share"]

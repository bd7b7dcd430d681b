"""Devices: which one does what, and what becomes of an execution when one fails."""

from executor.distribution.placement import Fleet

__all__ = ["Fleet"]

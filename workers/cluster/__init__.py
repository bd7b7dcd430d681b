"""Processes of a cluster: ``python -m workers.cluster up | worker | coordinator``."""

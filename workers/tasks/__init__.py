"""The Celery tasks: thin bodies around what does the work."""

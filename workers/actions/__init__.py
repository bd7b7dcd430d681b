"""The first action types, one file each; no Celery in them."""

"""The state of every execution: the truth, of which messages are only hints."""

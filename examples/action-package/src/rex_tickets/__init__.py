"""Action types around a box of tickets: a directory with one file for each."""

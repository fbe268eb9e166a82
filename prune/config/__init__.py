"""The typed configuration: one file a group of conf/, and config.py for all of one cell."""

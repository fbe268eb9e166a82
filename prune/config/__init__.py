"""The typed configuration: one file per group of conf/, and config.py for all of one cell."""

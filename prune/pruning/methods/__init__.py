"""Pruning methods, one file each: its knobs, its statistic, its mathematics."""

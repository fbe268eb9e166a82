"""Pruning methods, a file each: its knobs, its statistic, its mathematics."""

"""Selectors, one module each: see prune/calib/selection.py."""

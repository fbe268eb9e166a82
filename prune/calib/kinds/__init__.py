"""Kinds of calibration sets beside those that recipe.py names, one module each.

A module defines DATASET, an `OtherSet`, and KIND, which makes the set of a recipe: see `OtherKind` in recipe.py.
"""

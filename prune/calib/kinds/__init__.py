"""Kinds of calibration sets beside those that recipe.py names, a module each.

It defines DATASET, an `OtherSet`, and KIND, which makes of a recipe the set as its kind makes it: `OtherKind` in recipe.py.
"""

"""Calibration sets: a recipe becomes rows, rows become text, text becomes tokens, and the tokens are kept on disk for every cell."""

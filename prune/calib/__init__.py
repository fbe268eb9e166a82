"""Calibration sets: a recipe becomes rows, rows text, text tokens; the tokens are kept on disk for every cell."""

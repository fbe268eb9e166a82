"""Comparisons of cells: differences, their intervals and p-values, and the verdict."""

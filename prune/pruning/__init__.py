"""Pruning: a loaded model, a calibration set and a method go in; the model with fewer weights, and a report per linear,
come out."""

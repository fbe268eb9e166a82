"""Pruning: a loaded model, a calibration set and a method in; the model with fewer weights, and a report a linear, out."""

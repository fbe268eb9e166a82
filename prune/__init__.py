"""Find the calibration data that hurts a pruned language model least."""

__version__ = "0.1.0"

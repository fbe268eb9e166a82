"""Text that the dense model writes itself (Ji et al. 2025, arXiv 2410.17711); prune/calib/generated.py makes it."""

from prune.data.dataset import GeneratedSet

DATASET = GeneratedSet(name="generated")

"""Sets that are made of others: which, and how much of each, the configuration says (prune/config/mixture.py)."""

from prune.config.mixture import MIXTURES
from prune.data.dataset import MixtureSet

DATASETS = tuple(MixtureSet(name=name) for name in MIXTURES)

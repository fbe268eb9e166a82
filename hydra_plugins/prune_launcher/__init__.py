"""Registers prune's launcher and sweeper with Hydra; the work is in prune/sweep/."""

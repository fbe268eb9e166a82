"""The Slurm launcher: a job per cell through submitit, followed until the last has ended."""

from prune.sweep.launchers.slurm.launcher import LAUNCHER as LAUNCHER

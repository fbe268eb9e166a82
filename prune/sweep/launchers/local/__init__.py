"""The local launcher: cells in this process, or in one process per GPU."""

from prune.sweep.launchers.local.launcher import LAUNCHER as LAUNCHER

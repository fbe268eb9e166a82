"""The local launcher: cells in this process, or in one process a GPU."""

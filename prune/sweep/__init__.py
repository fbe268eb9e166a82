"""From a grid to its cells: composing, launching, showing."""

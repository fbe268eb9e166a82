"""A cell: its identity, its folder, and the story of its run."""

"""A cell: its identity, its folder, and how it runs."""

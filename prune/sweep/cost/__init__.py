"""What a sweep costs before anything of it has run: the work of each cell, and the rate at which a machine does it."""

"""What a sweep will cost, before any of it has run: the work of each cell, and the rate at which a machine does it."""

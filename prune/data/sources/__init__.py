"""Sources of rows: the hub, local files, and the sample rows that the package carries."""

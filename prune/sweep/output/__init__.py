"""What a line shows: progress, the table at its end, the sweep's page."""

"""Trackers: mirrors of results elsewhere."""

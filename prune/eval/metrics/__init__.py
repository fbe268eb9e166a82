"""Kinds of scores, a file each."""

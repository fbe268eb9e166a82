"""Launchers: how the cells of a sweep are run, or what is done instead."""

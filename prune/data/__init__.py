"""Datasets: what a row is, the sets by name, how their rows become questions, and the sources that rows come from."""

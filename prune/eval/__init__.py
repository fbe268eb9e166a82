"""Scores of a model.

plan.py lists the scores that a configuration asks for, measure.py measures one of them, metric.py holds what a kind of score
and a measured number are; each kind is a file in metrics/.
"""

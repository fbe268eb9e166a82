"""Scores of a model: token perplexity, and few-shot accuracy through lm-eval.

plan.py says which metrics a configuration asks for, measure.py measures one of them; metric.py is what comes back.
"""

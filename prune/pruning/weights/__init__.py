"""Token weights, one module each: see prune/pruning/token_weights.py."""

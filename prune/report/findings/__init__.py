"""What the report finds: evidence, the study's questions, curves, how pruning went, notes."""

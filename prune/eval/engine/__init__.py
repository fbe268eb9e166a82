"""Forward passes for scores: batches, shared prefixes, losses, logits; nothing of datasets."""

"""Models: their files, where they come from, loading, and where the prunable linears are in them."""

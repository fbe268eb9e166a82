"""What claims to run on a GPU, on a GPU; where that means something also on the CPU: PRUNE_GPU_DEVICE=cpu."""

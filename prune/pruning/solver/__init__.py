"""The column sweep of SparseGPT: Hessian, factor, and the removed weights, on the CPU and as a Triton kernel."""

"""The column sweep of SparseGPT: Hessian, factor, and the weights that go, on the CPU and as a Triton kernel."""

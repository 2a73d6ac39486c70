"""The choice of a backend: plain torch, or the Triton kernels that a model brings."""

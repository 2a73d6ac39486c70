"""Check, time and compile the kernels: commands for whoever works on them."""

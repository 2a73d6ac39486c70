"""MSDRA, the multiscale double-branch residual attention network (Li et al., 2022), as a fusekit plugin."""

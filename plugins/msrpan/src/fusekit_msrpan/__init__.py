"""MSRPAN, the multiscale residual pyramid attention network (Fu et al., 2021), as a fusekit plugin."""

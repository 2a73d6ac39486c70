"""EH-DRAN, the edge-enhanced dilated residual attention network (Zhou et al., BIBM 2024), as a fusekit plugin."""

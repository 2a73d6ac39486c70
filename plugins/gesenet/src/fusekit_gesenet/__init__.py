"""GeSeNet, a semantic-guided network with couple mask ensemble (Li et al., TNNLS 2023), as a fusekit plugin."""

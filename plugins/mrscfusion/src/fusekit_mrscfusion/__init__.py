"""MRSCFusion, residual Swin transformers and multiscale convolutions (Xie et al., TIM 2023), as a fusekit plugin."""

"""MACTFusion, a lightweight cross transformer for medical image fusion (Xie et al., JBHI 2024), as a fusekit plugin."""

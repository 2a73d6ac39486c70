"""Models that fuse: tensors in, tensors out."""

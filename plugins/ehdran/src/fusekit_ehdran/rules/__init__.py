"""Fusion rules by softmax feature nuclear norms, of whole images and of local windows."""

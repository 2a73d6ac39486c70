"""Training of autoencoders that fuse: data, objectives, the trainer."""

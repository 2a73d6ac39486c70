"""Blocks that the networks of several models are made of, and what their inference forms are."""

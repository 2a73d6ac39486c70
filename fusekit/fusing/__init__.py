"""A model on images of any size: whole or in tiles."""

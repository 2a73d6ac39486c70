"""Trained weights: where they are found, how they are read and written, and how published ones are converted."""

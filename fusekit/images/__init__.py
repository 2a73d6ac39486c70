"""Pixels, where they lie in space, and their files."""

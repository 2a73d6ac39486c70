"""Formats of image files, one module a family."""

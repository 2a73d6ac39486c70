"""Metrics beside published implementations."""

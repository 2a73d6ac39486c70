"""A plugin that misspells a keyword."""

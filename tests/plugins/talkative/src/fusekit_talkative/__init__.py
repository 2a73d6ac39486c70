"""A plugin that works, and prints."""

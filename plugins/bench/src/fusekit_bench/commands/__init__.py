"""The commands of ``fusekit bench``."""

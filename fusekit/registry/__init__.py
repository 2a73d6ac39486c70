"""Names of components and where they come from."""

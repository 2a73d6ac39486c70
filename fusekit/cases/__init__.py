"""Which files belong together: cases, folders, datasets, series."""

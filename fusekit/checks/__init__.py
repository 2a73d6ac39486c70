"""Checks of components against their contracts, one file a family; plugin authors reach them by `fusekit.testing`."""

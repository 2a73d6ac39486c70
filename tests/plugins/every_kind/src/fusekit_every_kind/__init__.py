"""An example of a plugin: one component of every kind, written with nothing but the doors of fusekit."""

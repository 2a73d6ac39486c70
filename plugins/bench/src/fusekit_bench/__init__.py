"""The tables of fusekit, as a plugin: quality, speed, memory, calibration."""

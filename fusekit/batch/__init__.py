"""Many cases, one after the other or side by side, resumable."""

"""Tables that anyone can re-run."""

"""Built-in fusion metrics, one file each."""

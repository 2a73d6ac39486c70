"""Built-in fusion rules, one file each."""

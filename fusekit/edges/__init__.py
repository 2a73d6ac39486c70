"""Built-in edge operators, one file each."""

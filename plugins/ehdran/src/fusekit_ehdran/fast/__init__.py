"""EH-DRAN and DILRAN in forms that are cheaper to run than the plain modules, and compute the same function."""

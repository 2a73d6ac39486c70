"""How fast fusing and rating are, and how much memory they take."""

"""Components that each break their contract in one way."""

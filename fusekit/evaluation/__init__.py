"""How good a fusion is: ratings, ranks, tests, reports."""

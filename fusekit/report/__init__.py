"""Evaluation of whole folders: ratings of several methods, their ranking, and reports of them."""

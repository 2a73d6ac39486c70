"""The quality table and the ablation: methods, protocols, ratings, tables, figures."""

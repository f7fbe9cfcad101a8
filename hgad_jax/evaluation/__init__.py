"""Evaluation of a trained run: scores of a split, metrics per class, results.json."""

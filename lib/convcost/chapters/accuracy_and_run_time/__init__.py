"""Notebook 05: accuracy, FLOPs and run time of known nets, and what predicts the time."""

"""Bags, splits and the training of one fold."""

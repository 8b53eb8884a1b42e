"""Swin: loading and turning face crops into tokens."""

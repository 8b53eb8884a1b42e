"""Milmer: emotion recognition from EEG and face video, from raw recordings to honest tables."""

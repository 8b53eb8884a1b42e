"""From predictions to metrics, statistics and tables."""

"""Numbers from predictions: scores, calibration, statistics. Reads and writes no files."""

"""The synthetic twin: a dataset in DEAP's layout whose truth is known."""

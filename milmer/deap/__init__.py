"""DEAP: its layout, its two orders of trials, its formats."""

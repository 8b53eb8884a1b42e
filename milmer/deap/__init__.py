"""All that knows DEAP: its layout, its two orders of trials, its readers and a synthetic twin."""

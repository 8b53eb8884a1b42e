"""One fold: its data, the training loop, and what a run writes."""

"""The report: what was run and what came of it, as one self-contained page."""

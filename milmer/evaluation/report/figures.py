"""The report's figures: which there are, and where they stand; nothing heavy, for the Snakefile.

A figure is drawn by the function of its name in one of the modules ``figures_*`` beside this one,
which also says what it is called and how to read it. What Snakemake's own report says of it stands
in ``workflow/report``, in a file of its name.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """Where a figure stands: its heading on the page, its category in Snakemake's report."""

    heading: str
    category: str


FIGURES = {
    "inflation": Section("What a leaky split adds", "Results"),
    "subjects": Section("By subject", "Results"),
    "confusion": Section("Confusion", "Results"),
    "learning": Section("Learning", "Training"),
    "reliability": Section("How sure and how right", "Results"),
    "frames": Section("Frames", "Faces"),
    "attention": Section("Where on the face", "Faces"),
    "channels": Section("EEG channels", "EEG"),
    "cleaning": Section("EEG cleaning", "EEG"),
}
"""All figures by name, in the page's order; the first comes before all else on it."""

"""The list of the report's figures and their places; loads nothing heavy, for the Snakefile.

A figure is drawn by the function of its name in one of the modules that ``page.DRAWN_IN`` lists,
which also sets its title and caption. Its caption in Snakemake's own report is the file of its name
in ``workflow/report``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A figure's place: the section of the page, and its category in Snakemake's report."""

    heading: str
    category: str


FIGURES = {
    "overview": Section("", "Results"),
    "inflation": Section("Results", "Results"),
    "subjects": Section("Per subject", "Results"),
    "confusion": Section("Confusion", "Results"),
    "learning": Section("Learning curves", "Training"),
    "reliability": Section("Calibration", "Results"),
    "importance": Section("What the model relies on", "Results"),
    "channels": Section("What the model relies on", "EEG"),
    "frames": Section("What the model relies on", "Faces"),
    "attention": Section("What the model relies on", "Faces"),
    "cleaning": Section("Data", "EEG"),
}
"""All figures by name, in the order of the page; the first stands on its first screen."""

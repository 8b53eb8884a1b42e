"""The list of the report's figures and their places; loads nothing heavy, for the Snakefile.

A figure is drawn by the function of its name in one of the modules ``figures_*`` in this folder,
which also sets its title and caption. Its caption in Snakemake's own report is the file of its name
in ``workflow/report``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A figure's place: its heading on the page and its category in Snakemake's report."""

    heading: str
    category: str


FIGURES = {
    "inflation": Section("What a leaky split adds", "Results"),
    "subjects": Section("By subject", "Results"),
    "confusion": Section("Confusion", "Results"),
    "learning": Section("Learning", "Training"),
    "reliability": Section("Calibration", "Results"),
    "frames": Section("Frames", "Faces"),
    "importance": Section("What the model relies on", "Results"),
    "attention": Section("Attention to the face", "Faces"),
    "channels": Section("EEG channels", "EEG"),
    "cleaning": Section("EEG cleaning", "EEG"),
}
"""All figures by name, in the order of the page; the first comes before everything else."""

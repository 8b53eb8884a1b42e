"""Which kinds of recordings are supported."""

from pathlib import Path

from milmer.errors import MilmerError

KINDS = (
    "EDF and BDF, FIF (_raw.fif), BrainVision (.vhdr), EEGLAB (.set), EGI (.mff), Neuroscan (.cnt) "
    "and what else MNE reads as continuous, LSL (.xdf), arrays (.npy, .mat)"
)


def unsupported(path: Path, problem: str) -> MilmerError:
    """The error for a file that is whole but of no supported kind."""
    return MilmerError(
        problem, where=path, remedy=f"give a continuous recording; supported are {KINDS}"
    )


def is_known_to_mne(path: Path) -> bool:
    """Whether MNE has a reader for files or folders of that name."""
    try:
        from mne.io._read_raw import split_name_ext
    except ImportError:  # then MNE says it in its own words
        return True
    return split_name_ext(str(path))[1] is not None

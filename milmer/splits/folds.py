"""Which folds a protocol has, and which subjects a fold reads; nothing heavy, for the Snakefile."""

from collections.abc import Sequence

LEAKY = frozenset({"segment"})
"""Protocols whose parts share trials."""

WITHIN_SUBJECT = frozenset({"segment", "trial"})
"""Protocols with a model of its own for each subject."""


NUMBERED = frozenset({"trial", "stimulus"})
"""Protocols that have as many folds as the configuration says."""


def fold_names(protocol: str, subjects: Sequence[str], folds: int) -> list[str]:
    """Names of all folds: ``s01``, ``s01-k0`` … or ``k0`` …"""
    if protocol == "trial":
        return [f"{subject}-k{k}" for subject in subjects for k in range(folds)]
    if protocol == "stimulus":
        return [f"k{k}" for k in range(folds)]
    return list(subjects)


def fold_subjects(protocol: str, fold: str, subjects: Sequence[str]) -> list[str]:
    """Subjects whose data the fold reads."""
    return [fold.partition("-")[0]] if protocol in WITHIN_SUBJECT else list(subjects)

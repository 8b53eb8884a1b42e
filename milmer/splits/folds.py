"""Which folds a protocol has, and which subjects a fold reads; nothing heavy, for the Snakefile."""

from collections.abc import Sequence

from milmer.splits.protocols import PROTOCOLS


def fold_names(protocol: str, subjects: Sequence[str], folds: int) -> list[str]:
    """Names of all folds: ``s01``, ``s01-k0`` … or ``k0`` …"""
    row = PROTOCOLS[protocol]
    numbers = [f"k{k}" for k in range(folds)]
    if not row.by_subject:
        return numbers
    return [f"{s}-{k}" for s in subjects for k in numbers] if row.numbered else list(subjects)


def fold_subjects(protocol: str, fold: str, subjects: Sequence[str]) -> list[str]:
    """Subjects whose data the fold reads."""
    within = PROTOCOLS[protocol].within_subject
    return [fold.partition("-")[0]] if within else list(subjects)

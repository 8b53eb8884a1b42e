"""Which folds a protocol has, and which subjects a fold reads; nothing heavy, for the Snakefile."""

from collections.abc import Mapping, Sequence

from milmer.splits.protocols import PROTOCOLS, fold_subject


def fold_names(
    protocol: str,
    subjects: Sequence[str],
    folds: int,
    sessions: Mapping[str, int] | None = None,
    held_out_with: Mapping[str, str] | None = None,
) -> list[str]:
    """Names of all folds: ``s01``, ``s01-k0`` … or ``k0`` …

    ``sessions`` counts those of a subject, each a fold of protocol ``session`` where there are two
    or more. Subjects of the same value in ``held_out_with`` are held out together: the first of
    them names the fold.
    """
    row = PROTOCOLS[protocol]
    if row.by_session:
        counts = {s: (sessions or {}).get(s, 1) for s in subjects}
        return [f"{s}-k{k}" for s, n in counts.items() if n > 1 for k in range(n)]
    numbers = [f"k{k}" for k in range(folds)]
    if not row.by_subject:
        return numbers
    if row.leaves_subject_out:
        together = {(held_out_with or {}).get(s, s): s for s in reversed(subjects)}
        return [s for s in subjects if s in together.values()]
    return [f"{s}-{k}" for s in subjects for k in numbers] if row.numbered else list(subjects)


def fold_subjects(protocol: str, fold: str, subjects: Sequence[str]) -> list[str]:
    """Subjects whose data the fold reads."""
    within = PROTOCOLS[protocol].within_subject
    return [fold_subject(protocol, fold)] if within else list(subjects)

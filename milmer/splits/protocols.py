"""What each protocol keeps whole and how its folds are named; nothing heavy, for the Snakefile.

All that depends on a protocol follows from its row here: splits and their guard, the plan, tables.
"""

from dataclasses import dataclass
from typing import Literal

ProtocolName = Literal["segment", "trial", "session", "loso", "stimulus"]

TRIAL = ("subject", "trial")
"""Columns that name a trial."""


@dataclass(frozen=True)
class Protocol:
    """What a protocol keeps on one side of a split, and what its folds are.

    ``group`` names the columns of what is kept whole; trials of the same group in the manifest are
    kept together as well. A fold is named after its subject (``by_subject``), numbered
    (``numbered``), or both. ``within_subject``: a fold reads its own subject alone. ``leaky``: the
    parts of a split share trials, and groups.
    """

    group: tuple[str, ...]
    by_subject: bool
    numbered: bool
    within_subject: bool
    leaky: bool = False

    @property
    def leaves_subject_out(self) -> bool:
        """Whether a fold tests its subject by a model of all others; such folds are dependent."""
        return self.by_subject and not self.within_subject

    @property
    def by_session(self) -> bool:
        """Whether each fold tests one session of its subject, in their order."""
        return "session" in self.group


PROTOCOLS = {
    "segment": Protocol((*TRIAL, "position"), True, False, within_subject=True, leaky=True),
    "trial": Protocol(TRIAL, True, True, within_subject=True),
    "session": Protocol(("subject", "session"), True, True, within_subject=True),
    "stimulus": Protocol(("experiment_id",), False, True, within_subject=False),
    "loso": Protocol(("subject",), True, False, within_subject=False),
}
"""All protocols. What is not honest is compared with the first of these that is and was run."""

HONEST = tuple(name for name, protocol in PROTOCOLS.items() if not protocol.leaky)
"""Protocols that keep trials whole."""


def fold_subject(protocol: str, fold: str) -> str:
    """The subject that a fold is named after; empty where it is numbered only."""
    return fold.rpartition("-")[0] if PROTOCOLS[protocol].numbered else fold

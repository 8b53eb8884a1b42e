"""What each protocol keeps whole and how its folds are named; nothing heavy, for the Snakefile.

All that depends on a protocol follows from its row here: splits and their guard, the plan, tables.
"""

from dataclasses import dataclass
from typing import Literal

ProtocolName = Literal["segment", "trial", "loso", "stimulus"]

TRIAL = ("subject", "trial")
"""Columns that name a trial."""


@dataclass(frozen=True)
class Protocol:
    """What a protocol keeps on one side of a split, and what its folds are.

    ``group`` names the columns of what is kept whole. A fold is named after its subject
    (``by_subject``), numbered (``numbered``), or both. ``within_subject``: a fold reads its own
    subject alone. ``leaky``: the parts of a split share trials.
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
    def keeps_stimuli(self) -> bool:
        """Whether all presentations of a stimulus, of whichever subject, stay on one side."""
        return "subject" not in self.group


PROTOCOLS = {
    "segment": Protocol((*TRIAL, "position"), True, False, within_subject=True, leaky=True),
    "trial": Protocol(TRIAL, True, True, within_subject=True),
    "stimulus": Protocol(("experiment_id",), False, True, within_subject=False),
    "loso": Protocol(("subject",), True, False, within_subject=False),
}
"""All protocols. What is not honest is compared with the first of these that is and was run."""

HONEST = tuple(name for name, protocol in PROTOCOLS.items() if not protocol.leaky)
"""Protocols that keep trials whole."""

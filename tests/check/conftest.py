from pathlib import Path

import numpy as np
import pytest

from milmer.check.deap import DeapFacts, Subject, Trial
from milmer.check.needs import DEAP_CLIP
from milmer.data.labels import QUADRANTS
from milmer.deap.layout import has_clip


@pytest.fixture
def deap() -> DeapFacts:
    """What a good and whole copy of DEAP is, without its files."""
    facts = DeapFacts(Path("deap"), "auto", quick=False, source="dat")
    facts.ratings = facts.place / "metadata_csv" / "participant_ratings.csv"
    for number in range(1, 33):
        name = f"s{number:02d}"
        order = np.random.default_rng(number).permutation(40) + 1
        subject = Subject(
            eeg={"dat": facts.place / "data_preprocessed_python" / f"{name}.dat"},
            clips={trial: DEAP_CLIP for trial in range(1, 41) if has_clip(name, trial)},
            trials=[Trial(int(t), e, QUADRANTS[e % 4], 60.0) for e, t in enumerate(order, start=1)],
            familiarity=number not in (2, 15, 23),
            eeg_read=True,
            eeg_trials=40,
            labels_agree=True,
        )
        facts.subjects[name] = subject
    return facts

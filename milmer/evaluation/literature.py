"""Published numbers for comparison, each with its protocol and source.

They come from other subjects, classes and splits, so none of them is a target; they show how much
the protocol alone changes a number.
"""

import pandas as pd

_MILMER = "Wang et al. 2025, Milmer, arXiv:2502.00547"
_LIBEER = "Liu et al. 2024, LibEER, arXiv:2410.09767"
_LIBEMER = "Liu et al. 2026, LibEMER, arXiv:2509.19330"
_COLUMNS = ["work", "task", "protocol", "metric", "low", "high", "caveat", "note", "source"]
_QUADRANTS = "DEAP, four quadrants"
_ROWS = [
    (
        _MILMER,
        f"{_QUADRANTS}, EEG and face",
        "segment",
        "accuracy",
        0.9672,
        0.9672,
        "leaky; chosen on the test part",
        "random segments of a subject, one model per subject; the best epoch, as the published "
        "code shows and the paper does not say",
        "abstract",
    ),
    (
        _MILMER,
        f"{_QUADRANTS}, EEG and face",
        "across subjects",
        "accuracy",
        0.33,
        0.37,
        "chosen on the test part",
        "the best epoch",
        "the authors' development notes",
    ),
    (
        _LIBEER,
        f"{_QUADRANTS}, EEG",
        "trial",
        "accuracy",
        0.357,
        0.445,
        "",
        "range over models; always predicting the majority class gives about 0.36",
        "the paper, as noted by this project",
    ),
    (
        _LIBEER,
        f"{_QUADRANTS}, EEG",
        "trial",
        "macro_f1",
        0.21,
        0.29,
        "",
        "range over models",
        "the paper, as noted by this project",
    ),
    (
        _LIBEER,
        f"{_QUADRANTS}, EEG",
        "across subjects",
        "accuracy",
        0.16,
        0.31,
        "",
        "range over models; always predicting the majority class gives about 0.36",
        "the paper, as noted by this project",
    ),
    (
        _LIBEER,
        f"{_QUADRANTS}, EEG",
        "across subjects",
        "macro_f1",
        0.13,
        0.31,
        "",
        "range over models",
        "the paper, as noted by this project",
    ),
    *(
        (
            _LIBEMER,
            f"DEAP, two classes of {task}, multimodal",
            "across subjects",
            metric,
            None,
            best,
            "",
            f"best of nine models{note}",
            "the paper, as noted by this project",
        )
        for task, metric, best, note in (
            ("valence", "accuracy", 0.573, ""),
            ("arousal", "accuracy", 0.613, ""),
            ("either", "f1", 0.50, ", at most"),
        )
    ),
    (
        "Khan et al. 2025, arXiv:2508.02417",
        "DEAP, a review of 101 studies",
        "various",
        "increase in accuracy",
        None,
        0.46,
        "",
        "at most, due to flaws such as leaky segments and tuning on the test part; nearly 87 % of "
        "the studies have at least one",
        "abstract",
    ),
]


def literature_table() -> pd.DataFrame:
    """One row per published number; ``low`` and ``high`` are equal unless it is a range."""
    return pd.DataFrame(_ROWS, columns=_COLUMNS).astype({"low": "float64", "high": "float64"})

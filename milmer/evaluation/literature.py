"""Published numbers to read one's own beside, each with its protocol and where it stands.

They are of other data sets of subjects, classes and splits, so that none is a target; what they
show is how far the protocol alone moves a number.
"""

import pandas as pd

_MILMER = "Wang et al. 2025, Milmer, arXiv:2502.00547"
_LIBEER = "Liu et al. 2024, LibEER, arXiv:2410.09767"
_COLUMNS = ["work", "task", "protocol", "metric", "low", "high", "note", "source"]
_QUADRANTS = "DEAP, four quadrants"
_ROWS = [
    (
        _MILMER,
        f"{_QUADRANTS}, EEG and face",
        "segment",
        "accuracy",
        0.9672,
        0.9672,
        "leaky: random segments of a subject, one model a subject; best epoch chosen on the test "
        "part; the paper does not say so, the published code does",
        "abstract",
    ),
    (
        _MILMER,
        f"{_QUADRANTS}, EEG and face",
        "across subjects",
        "accuracy",
        0.33,
        0.37,
        "best epoch chosen on the test part",
        "the authors' development notes",
    ),
    (
        _LIBEER,
        f"{_QUADRANTS}, EEG",
        "trial",
        "accuracy",
        0.357,
        0.445,
        "range over models; the majority class has about 0.36",
        "the paper, as this project noted it",
    ),
    (
        _LIBEER,
        f"{_QUADRANTS}, EEG",
        "trial",
        "macro_f1",
        0.21,
        0.29,
        "range over models",
        "the paper, as this project noted it",
    ),
    (
        _LIBEER,
        f"{_QUADRANTS}, EEG",
        "across subjects",
        "accuracy",
        0.16,
        0.31,
        "range over models; the majority class has about 0.36",
        "the paper, as this project noted it",
    ),
    (
        _LIBEER,
        f"{_QUADRANTS}, EEG",
        "across subjects",
        "macro_f1",
        0.13,
        0.31,
        "range over models",
        "the paper, as this project noted it",
    ),
    (
        "Khan et al. 2025, arXiv:2508.02417",
        "DEAP, a review of 101 studies",
        "various",
        "rise of the accuracy",
        None,
        0.46,
        "what flaws such as leaky segments and tuning on the test part add at most; nearly 87 % "
        "of the studies have one or more",
        "abstract",
    ),
]


def literature_table() -> pd.DataFrame:
    """One row a published number; ``low`` and ``high`` are equal where it is no range."""
    return pd.DataFrame(_ROWS, columns=_COLUMNS).astype({"low": "float64", "high": "float64"})

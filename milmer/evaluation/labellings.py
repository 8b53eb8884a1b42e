"""Other labels of the same trials, drawn so that a suspected link survives.

A classifier that reaches as much with such labels as with the true ones goes by the link, and not
by the class (Ojala and Garriga 2010 on permutation tests of classifiers).
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

SCHEMES = ("any_trial", "by_trial", "shifted", "by_stimulus")
"""How labels are exchanged: among all trials, which keeps no link; among the trials of a subject,
which keeps who it is; by shifting them in presentation order, which keeps blocks and what drifts;
between stimuli, alike for all subjects, which keeps what was shown."""


def labellings(scheme: str, trials: pd.DataFrame, draws: int, seed: int) -> tuple[np.ndarray, bool]:
    """Which trial's label each trial gets (labelling, trial), and whether these are all there are.

    ``trials`` has the columns ``subject, visit`` (its session), ``order`` (of presentation),
    ``stimulus`` and ``label``. If there are at most ``draws`` labellings besides the true one, all
    are returned, the true one first; otherwise ``draws`` random ones.
    """
    whole = "visit" if scheme == "shifted" else "subject"  # what labels stay within
    subjects = [np.flatnonzero(trials[whole] == name) for name in pd.unique(trials[whole])]
    if scheme == "by_stimulus":
        return _by_stimulus(trials, subjects, draws, seed)
    if scheme == "shifted":
        order = trials["order"].to_numpy()
        blocks = [rows[np.argsort(order[rows], kind="stable")] for rows in subjects]
        count = math.prod(map(len, blocks))
    else:
        blocks = [np.arange(len(trials))] if scheme == "any_trial" else subjects
        labels = trials["label"].to_numpy()
        count = math.prod(_arrangements(labels[rows]) for rows in blocks)
    if count > draws + 1:
        rng = np.random.default_rng([seed, SCHEMES.index(scheme)])
        sources = np.tile(np.arange(len(trials)), (draws, 1))
        for source, rows in itertools.product(sources, blocks):
            source[rows] = _shifted(rows, rng) if scheme == "shifted" else rng.permutation(rows)
        return sources, False
    of_blocks = [
        [np.roll(rows, -k) for k in range(len(rows))]
        if scheme == "shifted"
        else [rows[list(order)] for order in _distinct(labels[rows].tolist())]
        for rows in blocks
    ]
    sources = np.tile(np.arange(len(trials)), (count, 1))
    for source, chosen in zip(sources, itertools.product(*of_blocks), strict=True):
        for rows, taken in zip(blocks, chosen, strict=True):
            source[rows] = taken
    return sources, True


def within(sources: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The ``sources`` (labelling, trial) of the trials ``present`` (number,), as numbers of these.

    A trial whose source is absent gets the source of that, and so on: still a permutation.
    """
    place = np.full(sources.shape[1], -1)
    place[present] = np.arange(len(present))
    source = sources[:, present]
    while (absent := place[source] < 0).any():
        source = np.where(absent, np.take_along_axis(sources, source, axis=1), source)
    return place[source]


def _shifted(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.roll(rows, -rng.integers(len(rows)))


def _arrangements(labels: np.ndarray) -> int:
    """How many orders of ``labels`` differ."""
    counts = np.unique(labels, return_counts=True)[1]
    return math.factorial(len(labels)) // math.prod(math.factorial(int(n)) for n in counts)


def _distinct(labels: Sequence[int]) -> list[list[int]]:
    """An order of the places of ``labels`` for each arrangement of them, the true one first."""
    places = {c: [i for i, label in enumerate(labels) if label == c] for c in labels}
    orders = []
    for arrangement in _sequences(Counter(labels)):
        unused = {c: iter(rows) for c, rows in places.items()}
        orders.append([next(unused[c]) for c in arrangement])
    true = list(range(len(labels)))
    return [true, *(order for order in orders if order != true)]


def _sequences(left: Counter) -> Iterator[list[int]]:
    if not left:
        yield []
    for c in sorted(left):
        for rest in _sequences(left - Counter([c])):
            yield [c, *rest]


def _by_stimulus(
    trials: pd.DataFrame, subjects: Sequence[np.ndarray], draws: int, seed: int
) -> tuple[np.ndarray, bool]:
    names, stimulus = np.unique(trials["stimulus"], return_inverse=True)
    everywhere = math.factorial(len(names)) <= draws + 1
    if everywhere:
        exchanges = np.array(list(itertools.permutations(range(len(names)))))
    else:
        rng = np.random.default_rng([seed, SCHEMES.index("by_stimulus")])
        exchanges = np.array([rng.permutation(len(names)) for _ in range(draws)])
    sources = np.tile(np.arange(len(trials)), (len(exchanges), 1))
    order = trials["order"].to_numpy()
    for rows in subjects:
        rows = rows[np.argsort(order[rows], kind="stable")]
        shown = stimulus[rows]
        present, shown = np.unique(shown, return_inverse=True)
        for name, others in enumerate(within(exchanges, present).T):
            mine = rows[shown == name]
            for source, other in zip(sources, others, strict=True):
                source[mine] = np.resize(rows[shown == other], len(mine))
    return sources, everywhere

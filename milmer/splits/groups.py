"""What stands on one side of a split: the groups of a protocol, and those of the manifest."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from milmer.splits.protocols import PROTOCOLS


def group_numbers(
    table: pd.DataFrame, protocol: str, columns: Sequence[str] | None = None
) -> np.ndarray:
    """The group (row,) of each row: what must not be divided, numbered from 0.

    Rows are of one group that agree in ``columns`` (without them the protocol's own), or in
    ``group``, or are linked by such rows. Numbers follow the order of the table, of stimuli their
    own. A leaky protocol divides groups of the manifest.
    """
    columns = list(columns or PROTOCOLS[protocol].group)
    own = table.groupby(columns, sort="subject" not in columns).ngroup().to_numpy()
    if PROTOCOLS[protocol].leaky or "group" not in table:
        return own
    named = table["group"].notna().to_numpy()
    shared, _ = pd.factorize(table["group"][named])
    component = own
    while True:  # each row takes the least number that it is linked to, until all have
        least = component.copy()
        least[named] = pd.Series(component[named]).groupby(shared).transform("min")
        least = pd.Series(least).groupby(own).transform("min").to_numpy()
        if (least == component).all():
            return np.unique(component, return_inverse=True)[1]
        component = least


def tested_together(table: pd.DataFrame, protocol: str, fold: str) -> np.ndarray:
    """Which rows (row,) are of the subject that a fold is named after, or of one held out with it.

    Groups that subjects share tie them.
    """
    groups = group_numbers(table, protocol)
    return np.isin(groups, groups[table["subject"] == fold])

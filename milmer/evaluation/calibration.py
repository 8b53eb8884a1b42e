"""The table of how well models are calibrated, see :mod:`milmer.metrics.calibration`.

Computed by segment, over all folds and seeds together.
"""

import pandas as pd

from milmer.evaluation.runs import EvaluatedRun, groups, pooled
from milmer.metrics.calibration import expected_calibration_error, reliability
from milmer.metrics.scores import probabilities


def calibration_table(runs: list[EvaluatedRun]) -> pd.DataFrame:
    """Reliability of each experiment and protocol, with the ``ece`` repeated in every row."""
    parts = []
    for group in groups(runs):
        predictions, first = pooled(group), group[0]
        probability = probabilities(predictions, first.labels)
        table = reliability(predictions["label"].to_numpy(), probability)
        table.insert(0, "experiment", first.experiment)
        table.insert(1, "protocol", first.protocol)
        table["ece"] = expected_calibration_error(table)
        parts.append(table.assign(**first.about))
    return pd.concat(parts, ignore_index=True)

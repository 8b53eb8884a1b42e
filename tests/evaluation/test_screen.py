"""What `milmer summary` prints: few columns, and each number at its place."""

import pandas as pd
import pytest

from milmer import storage
from milmer.evaluation.screen import summary_screen

LEAKY = "leaky: segments of one trial on both sides; best epoch chosen on the test part"


@pytest.fixture
def tables(tmp_path):
    """Tables of two experiments and a baseline; only the asked level and metric are plausible."""
    rows = [
        # experiment, protocol, mean, sd, low, high, baseline, note
        ("milmer", "segment", 0.911, 0.034, None, None, 0.876, LEAKY),
        ("milmer", "trial", 0.622, 0.05, 0.55, 0.689, 0.7, ""),
        ("an_experiment_with_quite_a_long_name", "loso", 0.5, None, None, None, None, "folds are"),
        ("band_power", "trial", 0.7, 0.1, None, None, 0.7, ""),
    ]
    names = ["experiment", "protocol", "mean", "sd", "low", "high", "band_power_balanced_accuracy"]
    summary = pd.DataFrame(rows, columns=[*names, "note"])
    summary = summary.assign(level="segment", metric="balanced_accuracy")
    others = [summary.assign(level="trial", mean=0.99), summary.assign(metric="kappa", mean=0.98)]
    confusion = pd.DataFrame(
        [
            (row[0], label, n)
            for row in rows
            for label, n in (("a", 3), ("b", 1), ("c", 9), ("d", 0))
        ],
        columns=["experiment", "label", "count"],
    )
    folds = summary[["experiment"]].query("experiment != 'band_power'")
    provenance = storage.provenance("tables", "milmer.storage", {}, {})
    for name, table in (
        ("summary", pd.concat([*others, summary])),
        ("folds", folds),
        ("confusion", confusion),
    ):
        storage.write_table(tmp_path / f"{name}.parquet", table, provenance)
    (tmp_path / "summary.md").write_text("| all |\n")
    return tmp_path


@pytest.mark.parametrize("columns", [100, 80])
def test_the_screen_holds_each_number_beside_the_best_baseline(tables, columns):
    screen = summary_screen(tables, columns)
    assert max(map(len, screen.splitlines())) <= columns
    header, _, *lines = screen.splitlines()
    assert header.split("  ")[0] == "experiment"
    first, (trial,) = lines[0], [line for line in lines if " trial " in line]
    assert first.split()[:8] == [
        "milmer",
        "segment",
        "0.91",
        "±",
        "0.03",
        "0.88",
        "band_power",
        "0.33",
    ]
    assert trial.split() == [
        *("milmer", "trial", "0.62", "[0.55,", "0.69]", "0.70", "band_power", "0.33")
    ]
    (loso,) = (line for line in lines if " loso " in line)
    assert loso.split()[1:5] == ["loso", "0.50", "–", "0.33"]
    # Nothing is cut off: what is long goes on in the next line.
    notes = "".join(line[header.index("note") :] for line in lines[:4]).replace(" ", "")
    assert notes.startswith("leaky;bestepochchosenonthetestpart")
    names = "".join(line[: header.index("protocol")].rstrip() for line in lines)
    assert "an_experiment_with_quite_a_long_name" in names


def test_all_of_the_summary_is_the_whole_table(tables, inside):
    assert inside("summary", "--all", tables)[1] == "| all |\n\n"
    code, text, _ = inside("summary", tables)
    assert (code, text.split()[:2]) == (0, ["experiment", "protocol"])

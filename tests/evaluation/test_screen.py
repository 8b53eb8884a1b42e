"""What `milmer summary` prints: few columns, and each number at its place."""

import pandas as pd
import pytest

from milmer import storage
from milmer.evaluation.screen import summary_screen, whole_table

LEAKY = "leaky; chosen on the test part"
WHY = "no segment is left for test (16 rejected)"
SKIPPED = pd.DataFrame(
    [
        ("milmer", "trial", "s02-k0", 0, WHY),
        ("milmer", "trial", "s02-k0", 1, WHY),
        ("milmer", "trial", "s07-k1", 0, WHY),
        ("eeg_only", "loso", "s02", 0, "no segment is left for train (9 rejected)"),
    ],
    columns=["experiment", "protocol", "fold", "seed", "reason"],
)


@pytest.fixture
def tables(tmp_path):
    """Tables of two experiments and a baseline; only the asked level and metric are plausible."""
    rows = [
        # experiment, protocol, mean, sd, low, high, baseline, caveat
        ("milmer", "segment", 0.911, 0.034, None, None, 0.876, LEAKY),
        ("milmer", "trial", 0.622, 0.05, 0.55, 0.689, 0.7, ""),
        ("an_experiment_with_quite_a_long_name", "loso", 0.5, None, None, None, None, "permuted"),
        ("band_power", "trial", 0.7, 0.1, None, None, 0.7, ""),
    ]
    names = ["experiment", "protocol", "mean", "sd", "low", "high", "best_baseline", "caveat"]
    summary = pd.DataFrame(rows, columns=names).assign(
        level="segment", metric="balanced_accuracy", baseline_name="band_power",
        note=["", "", "folds are dependent", ""],
    )  # fmt: skip
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
        ("skipped", SKIPPED),
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
    assert notes.startswith("leaky;chosenonthetestpart")
    assert [line.split()[-1] for line in lines if " loso " in line] == ["permuted;"]
    names = "".join(line[: header.index("protocol")].rstrip() for line in lines)
    assert "an_experiment_with_quite_a_long_name" in names


@pytest.mark.parametrize("columns", [100, 80])
def test_a_long_name_of_a_baseline_goes_on_in_the_next_line(tables, columns):
    change(tables, "summary", lambda table: table.assign(baseline_name="tangent_space_lda"))
    screen = summary_screen(tables, columns)
    assert max(map(len, screen.splitlines())) <= columns
    header, _, *lines = screen.splitlines()
    start = header.index("best baseline")
    rows = lines[: lines.index("")]
    cells = "".join(line[start : header.index("chance")].strip() for line in rows)
    assert cells.replace(" ", "") == "0.88tangent_space_lda0.70tangent_space_lda–"


def test_all_of_the_summary_is_the_whole_table(tables, inside):
    assert inside("summary", "--all", tables)[1].startswith("| all |\n\nSkipped: ")
    code, text, _ = inside("summary", tables)
    assert (code, text.split()[:2]) == (0, ["experiment", "protocol"])


def change(tables, name, edit):
    """Write a table again, changed, as one of ours."""
    path = tables / f"{name}.parquet"
    table = edit(storage.read_table(path))
    storage.write_table(path, table, storage.provenance("tables", "milmer.storage", {}, {}))


SUMMARY = ["experiment", "protocol", "level", "metric", "mean", "sd", "low", "high", "note"]
SUMMARY += ["best_baseline", "baseline_name", "caveat"]
LACKING = [("summary", name) for name in SUMMARY]
LACKING += [("folds", "experiment"), ("confusion", "experiment"), ("confusion", "label")]
LACKING += [("confusion", "count"), ("skipped", "fold"), ("skipped", "reason")]


@pytest.mark.parametrize(
    "value", [None, [["x"]], "5"], ids=["without", "as lists", "as another kind"]
)
@pytest.mark.parametrize(("name", "column"), LACKING)
def test_a_table_that_is_none_of_ours_is_one_line(name, column, value, tables, refused):
    texts = ("experiment", "protocol", "level", "metric", "note", "label", "fold", "reason")
    texts += ("baseline_name", "caveat")
    if value == "5" and column in texts:
        value = 5.5
    if value is None:
        change(tables, name, lambda table: table.drop(columns=column))
    else:
        values = value if isinstance(value, list) else [value]
        change(tables, name, lambda table: table.assign(**{column: values * len(table)}))
    with refused(f"{name}.parquet: ", column):
        summary_screen(tables)


def test_an_experiment_without_classes_is_one_line(tables, refused):
    change(tables, "confusion", lambda table: table.assign(count=0))
    with refused("confusion.parquet: tells no class of milmer"):
        summary_screen(tables)


def test_names_and_notes_do_not_reach_the_terminal_as_codes(tables, inside):
    for name in ("summary", "folds", "confusion", "skipped"):
        change(tables, name, lambda table: table.replace("milmer", "red\x1b[31m"))
    change(tables, "summary", lambda table: table.assign(protocol="a\nb", note="\u202ebad"))
    screen = summary_screen(tables)
    assert r"red\x1b[31m" in screen
    assert r"a\nb" in screen
    assert r"\u202ebad" in screen
    (tables / "summary.md").write_bytes(b"| red\x1b[31m |\n| \xff |\n")
    text = inside("summary", tables, "--all")[1]
    assert text.startswith("| red\\x1b[31m |\n| \ufffd |\n")
    assert "Skipped: red\\x1b[31m under" in " ".join(text.split())


def test_a_summary_of_gigabytes_and_none_at_all_are_one_line(tables, refused):
    (tables / "summary.md").unlink()
    with refused("summary.md: no such file"):
        whole_table(tables)
    with open(tables / "summary.md", "wb") as file:
        file.truncate(10**11)
    with refused("summary.md: 100,000,000,000 bytes; at most 20,000,000 are read"):
        whole_table(tables)


@pytest.mark.parametrize("option", [(), ("--all",)])
def test_the_screen_says_which_runs_were_skipped_and_why(tables, inside, option):
    text = inside("summary", *option, tables)[1]
    assert f"Skipped: milmer under trial, s02-k0, s07-k1: {WHY}." in " ".join(text.split())
    why = "no segment is left for train (9 rejected)"
    assert f"Skipped: eeg_only under loso, s02: {why}." in " ".join(text.split())

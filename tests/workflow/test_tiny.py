"""One subject, two folds, one epoch: from a copy of DEAP to the report."""

from milmer import storage
from tests.workflow.runner import snakemake, write_config


def test_a_tiny_pipeline_runs_to_its_report(twin_user, tmp_path):
    write_config(
        tmp_path,
        **twin_user | {"dataset": twin_user["dataset"] | {"subjects": ["s01"]}},
        protocols={"names": ["trial"], "folds": 2},
        training={"epochs": 1, "threads": 1},
    )
    done = snakemake(tmp_path)
    assert done.returncode == 0, done.stderr
    folds = storage.read_table(tmp_path / "results/tables/folds.parquet", "tables")
    assert set(folds["fold"]) == {"s01-k0", "s01-k1"}
    assert (tmp_path / "results/report/index.html").stat().st_size > 10_000

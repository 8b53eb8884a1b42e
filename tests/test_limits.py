"""Configurations and values from strangers: a short line at once, however much they stand for."""

import collections
import os

import pytest
import yaml

from milmer import storage
from milmer.config import load_config
from milmer.config_files import read_yaml
from milmer.deap.preprocessed import read_preprocessed
from milmer.limits import EXPERIMENTS, read_json, shortened
from milmer.options import read_options
from milmer.readers.seekable_video import probe
from milmer.training.options import TrainingOptions
from tests.limited import refusal, refusals


def read_config(path):
    """Read a configuration as `milmer config` does."""
    load_config(read_yaml(path))


def read_with_snakemake(path):
    """Read it as Snakemake does, which merges it into the one beside the Snakefile."""
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    from milmer.plan import Plan

    config = {"training": {"epochs": 1}}
    update_config(config, load_configfile(str(path)))
    Plan.read(config)


READERS = ["tests.test_limits:read_config", "tests.test_limits:read_with_snakemake"]


@pytest.mark.parametrize("reader", READERS)
def test_aliases_of_aliases_and_a_grid_of_millions_are_a_line_at_once(hostile, reader):
    aliases, grid = refusals(reader, hostile / "aliases.yaml", hostile / "grid.yaml")
    assert "config: training.epochs: 490,329," in aliases
    assert "values, aliases written out; at most 100,000 are read" in aliases
    assert "config: experiments: makes 96,059,6" in grid
    assert f"experiments; at most {EXPERIMENTS:,} are made; shorten the grids" in grid


def test_grids_count_together(refused):
    grid = {"training.epochs": list(range(1, 101)), "training.seed": list(range(60))}
    with refused("config: experiments: makes 12,000 experiments"):
        load_config({"experiments": {"a": {"grid": grid}, "b": {"grid": grid}}})


_MAPPINGS = ["a0: &a0 {x: 1}"] + [
    f"a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(10))}}}" for i in range(1, 12)
]
CONFIGURATIONS = [
    ("\n".join(_MAPPINGS), "values, aliases written out; at most 100,000 are read"),
    ("a: &a [*a]", "more than 50 levels deep"),
    ("a: &a\n  b: *a", "more than 50 levels deep"),
    ("training:\n  epochs: " + "[" * 60 + "]" * 60, "more than 50 levels deep"),
    ("[" * 5000, ".yaml"),
    ("training:\n  epochs: " + "9" * 5000, ".yaml"),
    ("faces:\n  size: 0x" + "f" * 5000, "a number of 20000 bits is not allowed"),
    ("training:\n  epochs: " + "x" * 100_000, "'xxxxx"),
    ("training:\n  ? " + "x" * 100_000 + "\n  : 1", "unknown key"),
    ("training:\n  epochs: [" + "x, " * 50_000 + "]", "['x', 'x',"),
    ("? " + "x" * 100_000 + "\n: {y: 1}", "unknown key"),
    ("experiments: {? " + "x" * 1000 + " . : {}}", "is not a valid name"),
    ("preset: " + "x" * 100_000, "is not allowed"),
]
"""Texts, and a part of the line that refuses each."""


def test_what_a_configuration_says_is_a_short_line(tmp_path):
    paths = [tmp_path / f"{i}.yaml" for i in range(len(CONFIGURATIONS))]
    for path, (text, _) in zip(paths, CONFIGURATIONS, strict=True):
        path.write_text(text)
    lines = refusals("tests.test_limits:read_config", *paths)
    for line, (_, part) in zip(lines, CONFIGURATIONS, strict=True):
        assert part in line


def test_a_configuration_of_gigabytes_is_refused_by_its_size(tmp_path):
    with open(tmp_path / "a.yaml", "wb") as file:
        file.truncate(20 * 10**9)
    line = refusal("tests.test_limits:read_config", tmp_path / "a.yaml")
    assert "a.yaml: 20,000,000,000 bytes; at most 20,000,000 are read" in line


def test_options_of_a_stage_are_shortened_too(refused):
    with refused("options: epochs: 'xxx", "…"):
        read_options(TrainingOptions, '{"epochs": "' + "x" * 10**6 + '"}')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("s01", "'s01'"),
        (1.5, "1.5"),
        ([1, "a", None], "[1, 'a', None]"),
        ({"a": [1]}, "{'a': [1]}"),
        (collections.OrderedDict(a=(1, 2)), "{'a': (1, 2)}"),
        ([[[[[1]]]]], "[[[[…]]]]"),
        (
            list(range(30)),
            "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, …]",
        ),
        ("x" * 1000, "'" + "x" * 78 + "…"),
    ],
)
def test_values_are_shown_in_80_characters(value, text):
    assert shortened(value) == text
    assert len(text) <= 80


def test_an_alias_that_is_used_a_few_times_is_fine():
    text = "a: &a {epochs: 3}\ntraining: *a\nexperiments: {x: {training: *a}, y: {training: *a}}"
    user = yaml.safe_load(text)
    del user["a"]
    assert load_config(user).experiment("y").training.epochs == 3


@pytest.mark.parametrize("bomb", ["lists", "itself"])
def test_merge_keys_are_counted_before_they_are_written_out(tmp_path, refused, bomb):
    path = tmp_path / "merge.yaml"
    lines = ["a0: &a0 {x: 1}"]
    for i in range(1, 10):
        lines.append(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}")
    part = "aliases written out"
    if bomb == "itself":
        lines, part = ["a: &a {<<: *a}"], "nested more than 50 levels deep"
    path.write_text("\n".join(lines))
    with refused("merge.yaml: ", part):
        read_yaml(path)


def test_a_merge_key_that_is_used_a_few_times_is_fine(tmp_path):
    path = tmp_path / "merge.yaml"
    path.write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\n")
    assert read_yaml(path)["b"] == {"x": 1, "y": 2}


def test_a_number_of_a_million_digits_is_one_line(tmp_path, refused):
    path = tmp_path / "large.yaml"
    path.write_text(f"training: {{epochs: 0x{'f' * 1_000_000}}}")
    with refused("config: a number of 4000000 bits is not allowed"):
        load_config(read_yaml(path))


def test_a_configuration_of_millions_of_values_is_not_read_to_its_end(tmp_path, refused):
    path = tmp_path / "many.yaml"
    path.write_text(f"dataset: {{subjects: [{'s01,' * 4_000_000}]}}")
    with refused("many.yaml: more than 100,000 values"):
        read_yaml(path)


def test_a_protocol_of_millions_of_folds_is_one_line(refused):
    with refused("config: protocols.folds: 1000000000000 is not allowed"):
        load_config({"protocols": {"folds": 10**12}})


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[1]", "holds no values by name"),
        ("{x", "is no JSON"),
        ('{"a": NaN}', "is no JSON (NaN is not a number)"),
        ('{"a": 1' + "0" * 400 + "}", "a number of 1329 bits is not allowed"),
        ('{"a": ' + "[" * 60 + "]" * 60 + "}", "nested more than 50 levels deep"),
        ('{"a":' * 100_000, "is no JSON"),
        ('{"a": [' + "1," * 100_001 + "1]}", "100,004 values"),
    ],
    ids=lambda value: value[:20],
)
def test_json_of_a_stranger_is_a_line(tmp_path, refused, text, part):
    path = tmp_path / "config.json"
    path.write_text(text)
    with refused("config.json: ", part):
        read_json(path)


@pytest.mark.parametrize(
    "read",
    [read_json, read_yaml, storage.digest, storage.read_table, read_preprocessed, probe],
    ids=lambda read: read.__name__,
)
@pytest.mark.parametrize("suffix", [".h5", ".parquet", ".dat", ".mat"])
def test_a_pipe_is_not_waited_for(tmp_path, refused, read, suffix):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    with refused(f"pipe{suffix}: is a pipe or a device, not a file"):
        read(path)

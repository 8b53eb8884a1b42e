import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from milmer.synthetic.options import TwinOptions

REPOSITORY = Path(__file__).resolve().parents[1]


def milmer(*arguments, **how):
    command = [sys.executable, "-m", "milmer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **how)


def test_an_error_for_people_is_one_line_on_stderr(tmp_path):
    done = milmer("trials", "s01", tmp_path / "out" / "s01.parquet", "--root", tmp_path / "none")
    assert done.returncode == 1
    assert done.stdout == ""
    problem = f"dataset.root: no such folder: {tmp_path / 'none'}"
    assert done.stderr == f"milmer: {problem}; set it to your copy of DEAP\n"
    assert list(tmp_path.iterdir()) == []


def test_with_a_log_messages_go_to_it_and_the_error_to_both(tmp_path, twin):
    log = tmp_path / "logs" / "trials.log"
    done = milmer("--log", log, "trials", "s09", tmp_path / "s09.parquet", "--root", twin)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no ratings of s09" in done.stderr
    assert done.stderr in log.read_text()
    assert not (tmp_path / "s09.parquet").exists()


def test_an_error_goes_to_the_log_alone_where_snakemakes_screen_shows_it(tmp_path):
    environment = os.environ | {"MILMER_ERRORS": "log"}
    done = milmer("--log", tmp_path / "a.log", "summary", tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (1, "")
    assert (tmp_path / "a.log").read_text().startswith("milmer: ")


def test_warnings_go_to_the_log_and_a_good_run_is_silent(tmp_path, twin):
    log = tmp_path / "trials.log"
    options = ["--options", '{"source": "bdf"}']
    skipped = shutil.ignore_patterns("*.bdf", "*.avi")
    root = shutil.copytree(twin, tmp_path / "deap", ignore=skipped)
    done = milmer("--log", log, "trials", "s01", tmp_path / "a.parquet", "--root", root, *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "s01: no .bdf file (there is dat" in log.read_text()
    assert (tmp_path / "a.parquet").exists()


def test_the_report_needs_the_tables(tmp_path, inside):
    code, _, error = inside("report", tmp_path, tmp_path / "report")
    assert (code, error) == (1, f"milmer: {tmp_path}/tables/folds.parquet: no such file\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("{", ["options", "JSON"]),
        ('{"eeg": {"bnd": [4, 45]}}', ["options: eeg.bnd: unknown key; did you mean eeg.band?"]),
        ("[]", ["options"]),
        ('{"eeg": {"bnad": 3}}', ["options: eeg.bnad"]),
        ('{"eeg": {"band": [50, 1]}}', ["options: eeg", "rising"]),
        ('{"segmentation": {"seconds": -1}}', ["options: segmentation.seconds", "-1"]),
    ],
)
def test_bad_options_are_one_line(tmp_path, inside, text, parts):
    inputs = ["--trials", tmp_path / "none.parquet", "--root", "."]
    code, _, error = inside("segments", tmp_path / "a.h5", *inputs, "--options", text)
    assert code == 1
    assert error.count("\n") == 1
    assert error.startswith("milmer: options")
    assert all(part in error for part in parts), error
    assert list(tmp_path.iterdir()) == []


def test_a_bug_keeps_its_traceback(tmp_path):
    code = (
        "import sys, milmer.deap.trials, milmer.cli\n"
        "milmer.deap.trials.make_trials = lambda *_: 1 / 0\n"
        "sys.argv = ['milmer', 'trials', 's01', 'out', '--root', '.']\n"
        "milmer.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "milmer: unexpected error (ZeroDivisionError: division by zero); "
    )
    line, log = done.stderr.rstrip().split("please report it with the traceback in ")
    assert line.count("\n") == 0
    assert "in <lambda>" in Path(log).read_text()
    Path(log).unlink()


def test_the_traceback_of_a_bug_goes_to_the_log_of_the_stage(tmp_path):
    code = (
        "import sys, milmer.deap.trials, milmer.cli\n"
        "milmer.deap.trials.make_trials = lambda *_: 1 / 0\n"
        f"sys.argv = ['milmer', '--log', '{tmp_path}/a.log', 'trials', 's01', 'o', '--root', '.']\n"
        "milmer.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "milmer: unexpected error (ZeroDivisionError: division by zero); please report it with the "
        f"traceback in {tmp_path}/a.log\n"
    )
    assert "in <lambda>" in (tmp_path / "a.log").read_text()


def test_a_log_that_cannot_be_written_is_one_line(tmp_path, inside):
    (tmp_path / "logs").touch()
    code, _, error = inside("--log", tmp_path / "logs/a.log", "trials", "s01", "out", "--root", ".")
    assert code == 1
    assert error == f"milmer: {tmp_path}/logs/a.log: the log cannot be written (File exists)\n"


def test_help_loads_no_stage():
    code = (
        "import sys; from milmer.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print([m for m in ('torch', 'pandas', 'h5py', 'numpy', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_config_prints_what_is_set_and_all_defaults(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("training: {epochs: 3}\n")
    done = milmer("config", path)
    assert done.returncode == 0
    assert yaml.safe_load(done.stdout)["training"] == {"epochs": 3}
    assert "#batch_size: 14" in done.stdout
    assert path.read_text() == "training: {epochs: 3}\n"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("training: {epoch: 3}", "did you mean training.epochs?"),
        ("training: [", "mine.yaml: "),
        ("- training", "mine.yaml"),
        ("just text", "mine.yaml"),
        ("", None),
    ],
)
def test_a_configuration_is_checked(tmp_path, inside, text, part):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    code, out, error = inside("config", path)
    assert code == (1 if part else 0), error
    if part:
        assert error.count("\n") == 1
        assert part in error
        assert out == ""


def test_config_prints_what_the_workflow_runs_with(tmp_path, inside, monkeypatch):
    base = tmp_path / "config.yaml"
    base.write_text(
        "dataset: {root: here}\n"
        "experiments: {a: {model: {num_select: 2}}, b: {}}\n"
        "training: {epochs: 7, lr: 0.5}\n"
        "backbone: {pretrain: {images: fer}}\n"
    )
    monkeypatch.setattr("milmer.config_files.WORKFLOW_CONFIG", base)
    mine = tmp_path / "mine.yaml"
    mine.write_text("training: {epochs: 9}\nexperiments:\ndataset:\neeg:\nbackbone: {pretrain: }\n")
    code, out, _ = inside("config", mine)
    printed = {k: v for k, v in yaml.safe_load(out).items() if v}
    assert code == 0
    assert printed.pop("eeg") == {"reject": None}  # a section within a section
    assert printed == {
        "dataset": {"root": "here"},
        "experiments": {"a": {"model": {"num_select": 2}}, "b": {}},
        "training": {"epochs": 9, "lr": 0.5},
        "backbone": {"pretrain": {"images": "fer"}},
    }


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (
            "training:\n  epochs: 3\n  lr: 1\n  epochs: 4\n",
            "the key 'epochs' stands twice, in lines 2 and 4",
        ),
        ("eeg: {}\n\neeg: {}\n", "the key 'eeg' stands twice, in lines 1 and 3"),
        ("a:\n dataset: {subjects: [1, 010]}\n", "line 2: YAML reads 010 as the number 8"),
        ("report: {seed: 12:30}\n", "line 1: YAML reads 12:30 as the number 750"),
    ],
)
def test_what_yaml_would_read_otherwise_is_refused(tmp_path, inside, text, part):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    code, _, error = inside("config", path)
    assert code == 1
    assert f"{path}: {part}" in error
    assert error.count("\n") == 1


def test_the_version_is_that_of_the_package(inside):
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert inside("--version")[:2] == (
        0,
        f"milmer {tomllib.loads(project)['project']['version']}\n",
    )


def test_the_first_screen_begins_with_what_a_newcomer_needs(inside):
    screen = inside("--help")[1]
    panels = [screen.index(f"─ {name} ─") for name in ("Start", "Results", "Tools")]
    assert screen.index("check") > panels[0]
    assert panels[1] < screen.index("predict") < panels[2]
    assert panels == sorted(panels)
    assert panels[2] < screen.index("─ Stages, which the workflow runs ─") < screen.index("split ")
    assert "[SNAKEMAKE OPTIONS]" in inside("resume", "--help")[1]


def test_the_defaults_of_synth_are_those_of_the_twin(inside):
    screen = " ".join(inside("synth", "--help")[1].replace("│", " ").split())
    for name in ("subjects", "trials", "seconds", "seed", "eeg_signal", "width", "fps"):
        default = TwinOptions.model_fields[name].default
        option = screen.partition(f"--{name.replace('_', '-')} ")[2].partition(" --")[0]
        assert f"[default: ({default:g})]" in option


def test_a_configuration_that_cannot_be_read_is_one_line(tmp_path, inside):
    (tmp_path / "latin.yaml").write_bytes(b"dataset: {root: caf\xe9}")
    (tmp_path / "folder.yaml").mkdir()
    reasons = {
        "none": "no such file\n",
        "latin": "utf-8",
        "folder": "cannot be read (Is a directory)",
    }
    for name, reason in reasons.items():
        code, _, error = inside("config", tmp_path / f"{name}.yaml")
        assert code == 1
        assert error.count("\n") == 1
        assert f"{name}.yaml: " in error
        assert reason in error


def test_synth_writes_a_dataset(tmp_path):
    small = ["--subjects", 1, "--trials", 1, "--seconds", 3, "--width", 64, "--height", 64]
    small += ["--fps", 2, "--formats", "mat", "--missing-clips", "s01:1"]
    done = milmer("synth", tmp_path / "twin", *small)
    assert done.returncode == 0, done.stderr
    options = json.loads((tmp_path / "twin" / "truth.json").read_text())["options"]
    assert (options["subjects"], options["formats"]) == (1, ["mat"])
    assert (tmp_path / "twin" / "data_preprocessed_matlab" / "s01.mat").exists()
    again = milmer("synth", tmp_path / "twin", *small)
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert "not empty" in again.stderr


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (["--subjects", 40], "options: subjects"),
        (["--missing-clips", "s01"], "options: missing_clips"),
        (["--formats", "edf"], "options: formats"),
        (["--options", '{"size": 3}'], "options: size"),
    ],
)
def test_synth_refuses_options_without_sense(tmp_path, inside, wrong, part):
    code, _, error = inside("synth", tmp_path / "twin", *wrong)
    assert code == 1
    assert error.count("\n") == 1
    assert part in error
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_is_finetuned_by_hand(tmp_path, twin_backbone):
    arguments = ["finetune-backbone", tmp_path / "faces", tmp_path / "swin"]
    done = milmer(*arguments, "--backbone", twin_backbone)
    assert done.returncode == 1
    problem = f"{tmp_path / 'faces'}: no such folder of pictures; check the path"
    assert done.stderr == f"milmer: {problem}\n"
    done = milmer(*arguments, "--options", '{"pretrain": {"epochs": 0}}')
    assert done.returncode == 1
    assert done.stderr.startswith("milmer: options: pretrain.epochs")
    (tmp_path / "swin").mkdir()
    (tmp_path / "swin/thesis.txt").touch()
    done = milmer(*arguments, "--backbone", twin_backbone)
    assert (
        done.stderr == f"milmer: {tmp_path / 'swin'}: exists and is not empty; give a new folder\n"
    )
    shutil.rmtree(tmp_path / "swin")
    assert list(tmp_path.iterdir()) == []


def test_a_summary_that_is_not_there_says_what_to_run(tmp_path, inside):
    code, _, error = inside("summary", tmp_path)
    assert code == 1
    assert "run snakemake first" in error


def test_the_example_in_the_repository_is_a_valid_configuration(inside):
    code, _, error = inside("config", REPOSITORY / "workflow" / "demo.yaml")
    assert code == 0, error


def test_check_shows_a_copy_on_one_screen(twin, inside):
    for how, verdict in (([], "Usable: no error"), (["--quick"], "No error in names, sizes")):
        code, out, error = inside("check", twin, *how)
        assert (code, error) == (0, "")
        assert out.splitlines()[-1].startswith(verdict)


def test_check_ends_with_1_where_something_would_stop(tmp_path, inside):
    code, out, error = inside("check", tmp_path)
    assert (code, error) == (1, "")
    assert out.count("ERROR") == 2


def test_check_prints_json_and_nothing_else(twin, inside):
    code, out, error = inside("check", twin, "--json", "--source", "mat")
    report = json.loads(out)
    assert (code, error, report["usable"], report["errors"]) == (0, "", True, [])
    assert list(report) == [
        *(
            "root",
            "usable",
            "quick",
            "source",
            "eeg",
            "ratings",
            "subjects",
            "errors",
            "warnings",
            "notes",
        ),
        *("needs", "free_bytes"),
    ]
    assert report["source"] == "mat"
    assert report["eeg"]["dat"] == ["s01", "s02"]
    assert report["ratings"] == "metadata_csv/participant_ratings.csv"
    subject = report["subjects"]["s01"]
    assert (subject["eeg_read"], subject["labels_agree"], subject["status"]) == (True, True, None)
    assert subject["clips"]["3"]["seconds"] == 5
    assert subject["trials"][0]["experiment_id"] == 1
    assert sum(subject["quadrants"].values()) == len(subject["trials"]) == 8
    assert list(report["needs"]) == ["segments", "faces", "tokens", "runs"]
    assert {"about", "subjects", "text"} == set(report["notes"][0])


def test_check_tells_where_the_disk_is_too_small(twin, tmp_path, small_disk, inside):
    folder = small_disk("1m")
    code, out, _ = inside("check", twin, "--quick", "--directory", folder)
    assert code == 1
    assert f"ERROR {folder}: 0.0 GB free" in " ".join(out.split())  # the line is wrapped


def test_check_refuses_a_kind_of_eeg_that_there_is_not(twin, inside):
    code, out, error = inside("check", twin, "--source", "edf")
    assert (code, out) == (1, "")
    assert error.startswith("milmer: options: source")

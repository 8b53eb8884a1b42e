import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

STAGES = {
    "trials": ("milmer.deap.trials",),
    "segments": ("milmer.eeg.segments", "milmer.deap.recordings"),
    "faces": ("milmer.faces.crops",),
    "finetune-backbone": ("milmer.backbone.pretraining",),
    "tokens": ("milmer.backbone.tokens",),
    "split": ("milmer.splits.splits",),
    "train": ("milmer.training.loop",),
    "evaluate": ("milmer.evaluation.evaluate",),
    "explain": ("milmer.evaluation.explain",),
    "baseline": ("milmer.evaluation.baselines",),
    "tables": ("milmer.evaluation.tables",),
    "report": ("milmer.evaluation.report.page",),
}


@pytest.fixture(scope="module")
def remembered(tmp_path_factory):
    """A copy of the package whose modules were parsed, as the cache beside it remembers."""
    copy = tmp_path_factory.mktemp("package") / "milmer"
    shutil.copytree(REPOSITORY / "milmer", copy, ignore=shutil.ignore_patterns("__pycache__"))
    fingerprints(copy)
    return copy


@pytest.fixture
def package(remembered, tmp_path):
    """A copy of the package to edit."""
    return shutil.copytree(remembered, tmp_path / "milmer")


def python(code, package=REPOSITORY / "milmer"):
    """Run code beside a package; what it prints as JSON in its last line."""
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def fingerprints(package):
    """The fingerprint of each stage by the module in ``package``, loaded as in a new process."""
    spec = importlib.util.spec_from_file_location(
        "milmer.fingerprints", package / "fingerprints.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: module.fingerprint(*modules) for name, modules in STAGES.items()}


def rerun(package, path, edit):
    """Names of the stages whose fingerprint an edit of a file changes."""
    before = fingerprints(package)
    file = package / path
    file.write_text(edit(file.read_text()))
    after = fingerprints(package)
    return {name for name in STAGES if before[name] != after[name]}


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        ("faces/crops.py", {"faces"}),
        ("faces/tracking.py", {"faces"}),
        ("faces/contact_sheet.py", set()),
        ("eeg/filtering.py", {"segments"}),
        ("deap/ratings.py", {"trials"}),
        ("backbone/loading.py", {"finetune-backbone", "tokens", "train", "explain"}),
        ("backbone/encoder.py", {"finetune-backbone", "tokens", "train", "explain"}),
        ("metrics/scores.py", {"baseline", "evaluate", "tables", "report"}),
        ("evaluation/model_card.py", {"evaluate", "report"}),
        ("backbone/class_folders.py", {"finetune-backbone"}),
        ("metrics/statistics.py", {"tables"}),
        ("evaluation/features.py", {"baseline"}),
        ("splits/guard.py", {"split", "train", "explain", "baseline"}),
        ("cli/stages.py", set()),
        ("plan/results.py", set()),
    ],
)
def test_an_edit_reruns_the_stages_that_import_it_and_no_other(package, path, stages):
    assert rerun(package, path, lambda text: text + "\nADDED = 1\n") == stages


def test_what_is_remembered_changes_no_fingerprint(package):
    cache = package / "__pycache__/fingerprints.json"
    fast = fingerprints(package)
    modules = json.loads(cache.read_text())
    cache.write_text(json.dumps({name: [*facts[:2], "x"] for name, facts in modules.items()}))
    assert "milmer.storage:x" in fingerprints(package)["trials"]  # it is what is read
    for text in ("{", "[]"):
        cache.write_text(text)
        assert fingerprints(package) == fast
    cache.unlink()
    assert fingerprints(package) == fast
    assert json.loads(cache.read_text()) == modules
    (package / "storage.py").touch()  # of another time it is read again, and is the same
    assert fingerprints(package) == fast


def test_an_edit_of_storage_reruns_all(package):
    assert rerun(package, "storage.py", lambda text: text + "\nADDED = 1\n") == set(STAGES)


def test_a_number_that_changes_is_an_edit(package):
    def edit(text):
        assert "_BUFFERED = 256" in text
        return text.replace("_BUFFERED = 256", "_BUFFERED = 257")

    assert rerun(package, "faces/crops.py", edit) == {"faces"}


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "# a comment\n\n\n" + text + "\n\n# another\n",
        lambda text: text.replace('"""Stage ``faces``:', '"""Something else:', 1),
        lambda text: text.replace('"""Numbers of up to', '"""Places of up to', 1),
        lambda text: text + '\n"""What stands above is described."""\n',
        lambda text: text.replace("= clip.at(", "= (  # why\n    clip.at)("),
    ],
    ids=["comments", "docstring", "docstring of a function", "of a constant", "line breaks"],
)
def test_comments_docstrings_and_line_breaks_are_no_edit(package, edit):
    assert (package / "faces/crops.py").read_text() != edit(
        (package / "faces/crops.py").read_text()
    )
    assert rerun(package, "faces/crops.py", edit) == set()


def test_what_only_people_read_is_no_edit(package):
    def describe(text):
        assert 'description="Length of a segment in s."' in text
        return text.replace('description="Length of a segment in s."', 'description="Seconds."')

    assert rerun(package, "data/segmentation.py", describe) == set()

    def advise(text):
        return text + '\nraise MilmerError("too long", remedy=f"cut {1} s")\n'

    def advise_otherwise(text):
        return text.replace('remedy=f"cut {1} s"', 'remedy="cut it"')

    before = rerun(package, "faces/tracking.py", advise)
    assert before == {"faces"}
    assert rerun(package, "faces/tracking.py", advise_otherwise) == set()


def test_a_description_that_is_drawn_is_an_edit(package):
    def add(text):
        return text + '\nPANEL = panel("title", description="what it shows")\n'

    assert rerun(package, "drawing/svg.py", add) == {"report"}
    edited = rerun(package, "drawing/svg.py", lambda text: text.replace("what it shows", "other"))
    assert edited == {"report"}


@pytest.mark.parametrize(
    "line",
    [
        "import milmer.deap.onsets",
        "from milmer.deap import onsets",
        "from milmer.deap.onsets import anything",
        "from ..deap import onsets",
        "from ..deap.onsets import anything",
        "def later():\n    import milmer.deap.onsets as other",
        "class Lazy:\n    def load(self):\n        from ..deap.onsets import anything",
        "if TYPE_CHECKING:\n    from milmer.deap import onsets",
        "try:\n    pass\nexcept ImportError:\n    from milmer.deap import onsets",
        "match 1:\n    case 1:\n        with None:\n            from milmer.deap import onsets",
    ],
)
def test_an_import_counts_however_it_is_written(package, line):
    tracking = package / "faces" / "tracking.py"
    tracking.write_text(f"{tracking.read_text()}\n{line}\n")
    edited = rerun(package, "deap/onsets.py", lambda text: text + "\nADDED = 1\n")
    assert edited == {"trials", "faces"}


def test_a_package_counts_with_the_modules_in_it_and_relative_imports_begin_there(package):
    (package / "deap" / "__init__.py").write_text("from . import onsets\n")
    edited = rerun(package, "deap/onsets.py", lambda text: text + "\nADDED = 1\n")
    assert edited == {"trials", "segments"}
    edited = rerun(package, "deap/__init__.py", lambda text: text + "\nADDED = 1\n")
    assert edited == {"trials", "segments"}


def test_no_module_is_imported_by_a_name_that_only_a_run_knows():
    for path in (REPOSITORY / "milmer").rglob("*.py"):
        names = {
            getattr(node, "id", getattr(node, "attr", getattr(node, "name", None)))
            for node in ast.walk(ast.parse(path.read_text()))
        }
        assert not names & {"import_module", "__import__", "runpy", "exec"}, path


@pytest.mark.slow
def test_whatever_a_stage_imports_while_it_runs_is_in_its_closure(
    twin, twin_results, twin_backbone, tmp_path
):
    """All stages run on the twin, each in a process of its own that says what it imported."""
    for i in range(4):
        picture = tmp_path / "images" / "ab"[i % 2] / f"{i}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(picture), np.full((8, 8), 10 * i, np.uint8))
    made = tmp_path / "made"  # also a folder of results, for the report
    for folder in ("trials", "segments", "faces"):
        shutil.copytree(twin_results / folder, made / folder)
    trials, segments, faces, tokens = (
        twin_results / path
        for path in (
            "trials/s01.parquet",
            "segments/default/s01.h5",
            "faces/default/s01.h5",
            "tokens/default/default/s01.h5",
        )
    )
    tiny = {"hidden_size": 16, "num_heads": 2, "feed_forward": 16, "num_queries": 2}
    train = {"model": tiny | {"num_layers": 1}, "training": {"epochs": 1, "batch_size": 4}}
    tuned = train | {"finetune": {"backbone": {"name": str(twin_backbone)}}}
    shown = {"folds": {"trial": ["s01-k0"]}, "changes": {}}
    tables = {"report": {"resamples": 100}, "experiments": {"milmer": shown}, "seeds": [0]}
    shown = {"milmer": shown | {"eeg": "default", "faces": "default"}}
    page = {"report": {"faces": "blurred"}, "experiments": shown, "subjects": ["s01"]}
    folds = {"folds": ["s01-k0"]}
    run, run_tuned = (made / f"runs/{name}/trial/s01-k0/seed0" for name in ("milmer", "tuned"))
    haar = {"faces": {"detector": "haar"}}
    backbone = {"backbone": {"name": str(twin_backbone)}}
    inputs = ["--trials", trials, "--root", twin]
    of_run = ["--split", made / "split.parquet", "--segments", segments]
    names = ["band_power", "tangent_space_lda", "stacked_lda"]
    inputs_of = [["default", "default/default"]]
    baselines = {"folds": ["split"], "names": names, "inputs": inputs_of}
    commands = [
        ("trials", "s01", made / "s01.parquet", "--root", twin),
        ("segments", made / "segments.h5", *inputs),
        ("faces", made / "faces.h5", *inputs, "--options", json.dumps(haar)),
        (
            *("finetune-backbone", tmp_path / "images", made / "swin", "--backbone"),
            *(twin_backbone, "--options", json.dumps({"pretrain": {"epochs": 1}})),
        ),
        ("tokens", made / "tokens.h5", "--faces", faces, "--options", json.dumps(backbone)),
        ("split", "trial", "s01-k0", made / "split.parquet", "--trials", trials),
        ("train", run, *of_run, "--tokens", tokens, "--options", json.dumps(train)),
        ("train", run_tuned, *of_run, "--faces", faces, "--options", json.dumps(tuned)),
        ("evaluate", run.parents[1], made / "evaluation.parquet", "--options", json.dumps(folds)),
        (
            *("explain", run, made / "explanations/milmer/trial/s01-k0/seed0.h5"),
            *(*of_run, "--tokens", tokens),
        ),
        ("explain", run_tuned, made / "tuned.h5", *of_run, "--faces", faces),
        (
            *("baseline", made, made / "baselines", "--segments", segments),
            *("--tokens", tokens, "--options", json.dumps(baselines)),
        ),
        ("tables", made / "runs", made / "tables", "--options", json.dumps(tables)),
        ("report", made, made / "report", "--options", json.dumps(page)),
    ]
    assert {stage for stage, *_ in commands} == set(STAGES)
    code = f"""
import json, os, sys
import cv2, h5py, mne.filter, pandas, scipy.io, sklearn.linear_model, torch
from transformers import AutoImageProcessor, AutoModel, SwinModel, Trainer  # once for all
from milmer.fingerprints import closure
# Runs a stage and decides nothing of what it makes.
around = ("milmer.cli", "milmer.runtime.gpus")
report = {{}}
for stage, *arguments in {[[*map(str, command)] for command in commands]}:
    read, write = os.pipe()
    if not (child := os.fork()):
        from milmer.cli import app
        app([stage, *arguments], standalone_mode=False)
        seen = sorted(n for n in sys.modules if n.split(".")[0] == "milmer")
        os.write(write, json.dumps(seen).encode())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, stage
    seen = set(json.loads(os.read(read, 100_000)))
    assert set({STAGES}[stage]) <= seen
    seen.discard("milmer.runtime")  # the package around the leases
    more = sorted(n for n in seen - set(closure(*{STAGES}[stage])) if not n.startswith(around))
    report.setdefault(stage, []).extend(more)
print(json.dumps(report))
"""
    assert python(code) == {stage: [] for stage in STAGES}


HELD = """
import json, sys
from pathlib import Path
from milmer import planned, storage
from milmer.errors import MilmerError

def told(*steps):
    try:
        for step in steps:
            step()
    except MilmerError as error:
        return str(error)

path = Path({file!r})
text = path.read_text()
out = Path({folder!r}) / "out.json"
hold = lambda: planned.hold_to_plan("segments")
write = lambda: storage.write_json(out, 1)
edit = lambda: path.write_text(text + "ADDED = 1")
said = [told(hold, write), out.is_file()]
out.unlink()
said += [told(edit, write), out.is_file(), told(hold)]
path.write_text(text + "# a comment")
said += [told(hold, write), out.is_file()]
path.unlink()
said += [told(write)]
print(json.dumps(said))
"""


@pytest.mark.parametrize(
    ("path", "counts"), [("eeg/filtering.py", True), ("training/loop.py", False)]
)
def test_a_command_of_a_run_writes_nothing_once_its_code_is_another(
    package, tmp_path, monkeypatch, path, counts
):
    modules = fingerprints(package)["segments"].split()
    code = {"segments": dict(module.split(":") for module in modules), "train": {}}
    (tmp_path / "note.json").write_text(json.dumps({"code": code}))
    monkeypatch.setenv("MILMER_PLANNED", str(tmp_path / "note.json"))
    said = python(HELD.format(file=str(package / path), folder=str(tmp_path)), package)
    line = f"milmer/{path}: changed after this run began; start the run again" if counts else None
    assert said == [None, True, line, not counts, line, None, True, line]


@pytest.mark.parametrize("note", [None, "{", "[]", '{"host": 1}'])
def test_a_command_of_no_run_holds_to_nothing(package, tmp_path, monkeypatch, note):
    monkeypatch.setenv("MILMER_PLANNED", str(tmp_path / "note.json"))
    if note is not None:
        (tmp_path / "note.json").write_text(note)
    file = package / "eeg/filtering.py"
    said = python(HELD.format(file=str(file), folder=str(tmp_path)), package)
    assert said == [None, True, None, True, None, None, True, None]

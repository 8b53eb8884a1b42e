"""docs/privacy.md: its steps take a person out of everything that was made from their data."""

import base64
import binascii
import hashlib
import json
import re
import shutil

import h5py
import pyarrow.parquet as pq
import pytest
import yaml

from milmer import storage
from milmer.synthetic.twin import TwinOptions, synthesize
from tests.manifest.described import write_manifest
from tests.manifest.recordings import edf, waves
from tests.workflow.runner import REPOSITORY
from tests.workflow.runner import SMALL as SMALL_MODEL
from tests.workflow.test_running import CONFIG, shell

PAGE = REPOSITORY / "docs" / "privacy.md"
SMALL = {"subjects": 3, "trials": 8, "seconds": 6, "width": 240, "height": 192, "fps": 10}
CHANGES = {
    "protocols": {"names": ["segment", "loso"]},
    "training": {"epochs": 1, "threads": 1},
    "report": {"resamples": 200, "explain": 2, "faces": "shown"},
}
OWN = {
    "dataset": {"kind": "manifest", "manifest": "lab/manifest.csv"},
    "labels": {"scheme": "label", "classes": ["left", "right"]},
    "eeg": {"artefacts": "none", "bad_channels": "keep"},
    "model": SMALL_MODEL | {"modalities": ["eeg"]},
    "protocols": {"names": ["loso"]},
    "report": {"resamples": 200, "explain": 0},
}
ONLY_SEEN_BY_P02 = "zebra"


def section(title):
    return PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def steps(manifest=False):
    """The commands of the page: those that delete, and the run after them."""
    blocks = re.findall(r"```sh\n(.*?)```", section("Taking a person out"), re.DOTALL)
    (*delete, run), own = (block.splitlines() for block in blocks)
    if manifest:
        delete = [*own, *(line.replace("s02", "p02") for line in delete[5:])]
    return delete, run


def new_project(folder, config):
    """A copy of the project, without a dataset."""
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("rules", "workflow", "milmer"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "tmp").mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    return folder


def run_in(folder):
    done = shell(folder, steps()[1])
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def project(twin_backbone, tmp_path_factory):
    """One in which everything was made for three subjects of DEAP's layout."""
    folder = new_project(tmp_path_factory.mktemp("project"), CONFIG | CHANGES)
    synthesize(folder / "deap", TwinOptions(**SMALL))
    shutil.copytree(twin_backbone, folder / "swin")
    run_in(folder)
    return folder


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    """One in which everything was made for three subjects of a manifest."""
    folder = new_project(tmp_path_factory.mktemp("laboratory"), CONFIG | CHANGES | OWN)
    rows = []
    for i, subject in enumerate(("p01", "p02", "p03")):
        edf(folder / f"lab/{subject}/{subject}.edf", waves(seconds=40, seed=i))
        for trial in range(8):
            row = {"subject": subject, "trial": trial + 1, "stimulus": f"film{trial % 6}"}
            times = {"eeg_start": 4.5 * trial, "eeg_stop": 4.5 * trial + 4}
            row |= {"eeg_file": f"{subject}/{subject}.edf"} | times
            rows.append(row | {"label": ("left", "right")[(trial + i) % 2]})
    rows[15]["stimulus"] = ONLY_SEEN_BY_P02
    write_manifest(folder / "lab/manifest.csv", rows)
    run_in(folder)
    return folder


def files(folder):
    places = [folder / "results", folder / ".snakemake"]
    return [path for place in places for path in sorted(place.rglob("*")) if path.is_file()]


def words(path):
    """All text in a file: what it says by our readers, else its bytes."""
    if path.suffix == ".parquet":
        metadata = pq.read_schema(path).metadata
        return " ".join([str(metadata), storage.read_table(path).to_csv()])
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            texts = [str(dict(file.attrs))]
            file.visititems(lambda name, item: texts.append(f"{name} {dict(item.attrs)}"))
        return " ".join(texts)
    if path.suffix == ".safetensors":
        with open(path, "rb") as file:
            return file.read(int.from_bytes(file.read(8), "little")).decode()
    return path.read_bytes().decode("latin1")


def place(folder, path):
    """A file's path; Snakemake's own files are named by the output in Base64."""
    relative = path.relative_to(folder)
    name = "".join(part.removeprefix("@") for part in relative.parts[2:])
    try:
        return f"{relative} {base64.urlsafe_b64decode(name).decode()}"
    except (binascii.Error, UnicodeDecodeError):
        return str(relative)


def traces(folder, digests, person="s02"):
    """Files that name the person, and files that hold a digest of one of the person's files."""
    by_name, by_digest = set(), set()
    names = re.compile(f"(?<![A-Za-z0-9])({person}|{ONLY_SEEN_BY_P02})(?![A-Za-z0-9])")
    for path in files(folder):
        text = words(path)
        if names.search(place(folder, path)) or names.search(text):
            by_name.add(str(path.relative_to(folder)))
        raw = path.read_bytes().decode("latin1") + text
        if any(digest in raw for digest in digests):
            by_digest.add(str(path.relative_to(folder)))
    return by_name, by_digest


def persons_digests(folder, recordings, person):
    """Digests of ``recordings``, and of what was made from the person's alone."""
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in recordings}
    own = [path for path in files(folder) if re.search(rf"\b{person}\b", str(path))]
    return digests | {storage.digest(path) for path in own if path.suffix in (".h5", ".parquet")}


def take_out(folder, delete):
    for command in delete:
        done = shell(folder, command)
        assert done.returncode == 0, (command, done.stderr)


def test_the_steps_leave_nothing_of_the_person(project):
    recordings = [path for path in (project / "deap").rglob("s02*") if path.is_file()]
    recordings += (project / "deap/face_video/s02").glob("*")
    assert len(recordings) >= 9
    ratings = project / "deap/metadata_csv/participant_ratings.csv"
    digests = persons_digests(project, [*recordings, ratings], "s02")
    by_name, by_digest = traces(project, digests)
    expected = {"results/trials/s02.parquet", "results/tables/subjects.csv"}
    expected |= {"results/runs/milmer/loso/s01/seed0/predictions.parquet"}
    assert expected < by_name
    assert any(name.startswith(".snakemake/metadata") for name in by_name)
    assert {"results/splits/default/loso/s01.parquet", "results/trials/s01.parquet"} < by_digest
    others = project / "results/runs/milmer/segment/s01/seed0/model/model.safetensors"
    with_person = project / "results/runs/milmer/loso/s01/seed0/model/model.safetensors"
    weights = [path.read_bytes() for path in (others, with_person)]
    pictures = (project / "results/report/index.html").read_text().count("data:image/jpeg")
    assert pictures

    left = project / "results/runs/milmer/trial/s02-k0/.seed0.resume.pt"  # of a run cut short
    left.parent.mkdir(parents=True)
    left.touch()
    take_out(project, steps()[0])
    assert not [path for path in (project / "deap").rglob("*s02*") if path.suffix != ".json"]
    assert traces(project, digests)[0] == set()
    run_in(project)
    assert traces(project, digests) == (set(), set())

    assert others.read_bytes() == weights[0]  # trained again on the same, to the same
    assert with_person.read_bytes() != weights[1]
    subjects = storage.read_table(project / "results/tables/subjects.parquet")
    assert set(subjects["subject"]) == {"s01", "s03"}
    facts = storage.read_provenance(with_person.parents[1] / "predictions.parquet")["facts"]
    assert facts["subjects"] == {"train": 1, "val": 1, "test": 1}
    assert json.loads(shell(project, "milmer status --json").stdout)["process"] is None


def test_the_steps_leave_nothing_of_a_person_of_a_manifest(laboratory):
    """Nor under loso, where the person was in every fold but one, and is a fold's name."""
    trials = laboratory / "results/trials/p02.parquet"
    rows = storage.read_provenance(trials)["options"]["rows"]
    digests = {rows} | persons_digests(laboratory, [laboratory / "lab/p02/p02.edf"], "p02")
    by_name, by_digest = traces(laboratory, digests, "p02")
    runs = "results/runs/milmer/loso"
    assert {f"{runs}/{s}/seed0/predictions.parquet" for s in ("p01", "p02", "p03")} <= by_digest
    expected = {"results/trials/p02.parquet", "results/tables/subjects.csv"}
    expected |= {f"{runs}/p02/seed0/metrics.json", "results/splits/default/loso/p01.parquet"}
    assert expected < by_name
    assert ONLY_SEEN_BY_P02 in trials.read_bytes().decode("latin1")
    with_person = laboratory / f"{runs}/p01/seed0/model/model.safetensors"
    kept = [
        laboratory / "results" / name for name in ("trials/p01.parquet", "segments/default/p01.h5")
    ]
    times, weights = [path.stat().st_mtime_ns for path in kept], with_person.read_bytes()

    take_out(laboratory, steps(manifest=True)[0])
    assert "p02" not in (laboratory / "lab/manifest.csv").read_text()
    assert not [path for path in (laboratory / "lab").rglob("*p02*")]
    assert traces(laboratory, digests, "p02")[0] == set()
    run_in(laboratory)
    assert traces(laboratory, digests, "p02") == (set(), set())

    assert [path.stat().st_mtime_ns for path in kept] == times  # of others alone
    assert with_person.read_bytes() != weights
    facts = storage.read_provenance(with_person.parents[1] / "predictions.parquet")["facts"]
    assert facts["subjects"] == {"train": 1, "val": 1, "test": 1}
    subjects = storage.read_table(laboratory / "results/tables/subjects.parquet")
    assert set(subjects["subject"]) == {"p01", "p03"}
    folds = sorted(path.name for path in (laboratory / runs).iterdir() if path.is_dir())
    assert folds == ["p01", "p03"]


def test_every_kind_of_file_below_results_is_in_the_table(project):
    table = section("What is in which file")
    named = set(re.findall(r"`(?:[\w…]+/)*([\w.…-]+?)/?`", table.split("| elsewhere |")[0]))
    run = project / "results/runs/milmer/segment/s01/seed0"
    kinds = {path.name for path in (project / "results").iterdir()} - {"runs", "tables"}
    kinds |= {path.name for path in run.iterdir()} | {"evaluation.parquet"}
    kinds |= {path.stem for path in (project / "results/tables").glob("[!.]*")} - {"conclusions"}
    assert {re.sub(r"(?<=^.milmer-)\w+", "…", name) for name in kinds} <= named

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
from tests.workflow.runner import REPOSITORY
from tests.workflow.test_running import CONFIG, shell

PAGE = REPOSITORY / "docs" / "privacy.md"
SMALL = {"subjects": 3, "trials": 8, "seconds": 6, "width": 240, "height": 192, "fps": 10}
CHANGES = {
    "protocols": {"names": ["segment", "loso"]},
    "training": {"epochs": 1, "threads": 1},
    "report": {"resamples": 200, "explain": 2, "faces": "shown"},
}
NAME = re.compile(r"(?<![A-Za-z0-9])s02(?![A-Za-z0-9])")


def section(title):
    return PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def steps():
    """The commands of the page: those that delete, and the run after them."""
    *delete, run = re.search(r"```sh\n(.*?)```", section("Taking a person out"), re.DOTALL)[
        1
    ].splitlines()
    return delete, run


@pytest.fixture(scope="module")
def project(twin_backbone, tmp_path_factory):
    """A copy of the project in which everything was made for three subjects."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("rules", "workflow", "milmer"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "tmp").mkdir()
    synthesize(folder / "deap", TwinOptions(**SMALL))
    shutil.copytree(twin_backbone, folder / "swin")
    (folder / "mine.yaml").write_text(yaml.safe_dump(CONFIG | CHANGES))
    _, run = steps()
    done = shell(folder, run)
    assert done.returncode == 0, done.stderr
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


def traces(folder, digests):
    """Files that name the person, and files that hold a digest of one of the person's files."""
    by_name, by_digest = set(), set()
    for path in files(folder):
        text = words(path)
        if NAME.search(place(folder, path)) or NAME.search(text):
            by_name.add(str(path.relative_to(folder)))
        raw = path.read_bytes().decode("latin1") + text
        if any(digest in raw for digest in digests):
            by_digest.add(str(path.relative_to(folder)))
    return by_name, by_digest


def persons_digests(folder):
    """Digests of the person's recordings, of the ratings, and of what was made from them alone."""
    ratings = folder / "deap/metadata_csv/participant_ratings.csv"
    recordings = [path for path in (folder / "deap").rglob("s02*") if path.is_file()]
    recordings += (folder / "deap/face_video/s02").glob("*")
    assert len(recordings) >= 9
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (*recordings, ratings)}
    own = [path for path in files(folder) if NAME.search(str(path.relative_to(folder)))]
    return digests | {storage.digest(path) for path in own if path.suffix in (".h5", ".parquet")}


def test_the_steps_leave_nothing_of_the_person(project):
    digests = persons_digests(project)
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
    delete, run = steps()
    for command in delete:
        done = shell(project, command)
        assert done.returncode == 0, (command, done.stderr)
    assert not [path for path in (project / "deap").rglob("*s02*") if path.suffix != ".json"]
    assert traces(project, digests)[0] == set()
    done = shell(project, run)
    assert done.returncode == 0, done.stderr
    assert traces(project, digests) == (set(), set())

    assert others.read_bytes() == weights[0]  # trained again on the same, to the same
    assert with_person.read_bytes() != weights[1]
    subjects = storage.read_table(project / "results/tables/subjects.parquet")
    assert set(subjects["subject"]) == {"s01", "s03"}
    facts = storage.read_provenance(with_person.parents[1] / "predictions.parquet")["facts"]
    assert facts["subjects"] == {"train": 1, "val": 1, "test": 1}
    assert json.loads(shell(project, "milmer status --json").stdout)["process"] is None


def test_every_kind_of_file_below_results_is_in_the_table(project):
    table = section("What is in which file")
    named = set(re.findall(r"`(?:[\w…]+/)*([\w.…-]+?)/?`", table.split("| elsewhere |")[0]))
    run = project / "results/runs/milmer/segment/s01/seed0"
    kinds = {path.name for path in (project / "results").iterdir()} - {"runs", "tables"}
    kinds |= {path.name for path in run.iterdir()} | {"evaluation.parquet"}
    kinds |= {path.stem for path in (project / "results/tables").glob("[!.]*")} - {"conclusions"}
    assert {re.sub(r"(?<=^.milmer-)\w+", "…", name) for name in kinds} <= named

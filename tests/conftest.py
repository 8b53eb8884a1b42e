"""Datasets that many tests read, each made once a session and shared between xdist's workers.

Tests never write into them; what is to be changed is copied first.
"""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # tests compute on the CPU; before torch is imported
# A thread that waits for another sleeps: with as many workers as cores, it only takes their time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from milmer.cli import main
from milmer.deap.recordings import read_recording
from milmer.errors import MilmerError
from tests.asymmetric import Study, write_study
from tools.fetch_test_data import COMMAND, find_recordings
from tools.make_hostile_inputs import write as write_hostile_inputs

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = REPOSITORY / "tests" / "data" / "golden"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest is begun first, so that no worker is left alone with it."""
    longest = {"workflow", "slurm", "test_benchmarks.py", "test_tampered.py"}
    items.sort(key=lambda item: longest.isdisjoint(item.path.relative_to(REPOSITORY).parts))


@pytest.fixture(scope="session")
def once(tmp_path_factory, request) -> Callable[[str, Callable[[Path], None]], Path]:
    """``once(name, make)``: the path that ``make(path)`` wrote, by whichever worker came first."""
    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        base = base.parent
    elsewhere = base / "shared"
    elsewhere.mkdir(exist_ok=True)

    def made(name: str, make: Callable[[Path], None]) -> Path:
        path, done = elsewhere / name, elsewhere / f"{name}.done"
        with FileLock(elsewhere / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(path, ignore_errors=True)  # what a worker that failed left behind
                make(path)
                done.touch()
        return path

    return made


def fake_gpus(folder: Path, count: int, lines: list[str] | None = None) -> str:
    """A PATH on which nvidia-smi tells of ``count`` GPUs, or prints ``lines``."""
    lines = lines or [f"GPU {i}: NVIDIA Fake (UUID: GPU-fake-{i})" for i in range(count)]
    program = folder / "nvidia-smi"
    folder.mkdir(exist_ok=True)
    listing = "".join(f"echo '{line}'\n" for line in lines)
    driver = 'case "$*" in *driver_version*) echo 470.82.01; echo 470.82.01; exit;; esac'
    program.write_text(f'#!/bin/sh\n{driver}\n[ "$*" = -L ] || exit 2\n{listing}')
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def owned_by_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file or folder belong to another user: in truth for root, else to who asks."""
    if os.geteuid() == 0:
        os.chown(path, 4321, -1)
        return
    for name in ("stat", "lstat"):
        real = getattr(os, name)

        def stat(place, *arguments, real=real, **how):
            fields = list(real(place, *arguments, **how))
            if isinstance(place, (str, os.PathLike)) and Path(place) == path:
                fields[4] = 4321
            return os.stat_result(fields)

        monkeypatch.setattr(os, name, stat)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recordings by others, as tools/fetch_test_data.py lays it out."""
    folder = find_recordings()
    if folder is None:
        pytest.skip(f"recordings by others are not here; `{COMMAND}` gets them")
    return folder


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Study:
    """The files of a small made-up study that is uneven on purpose: tests/asymmetric.py."""
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def twin(once) -> Path:
    """A small synthetic twin: 2 subjects of 8 trials of 6 s, with truth.json."""

    def make(path: Path) -> None:
        from milmer.synthetic.twin import TwinOptions, synthesize

        small = {"trials": 8, "seconds": 6, "width": 360, "height": 288, "fps": 10}
        synthesize(path, TwinOptions(formats=["dat", "mat", "bdf"], **small))

    return once("twin", make)


@pytest.fixture(scope="session")
def twin_truth(twin) -> dict:
    """What is known of the twin, by subject."""
    return json.loads((twin / "truth.json").read_text())["subjects"]


@pytest.fixture(scope="session")
def twin_backbone(once) -> Path:
    """A folder with a small random Swin."""

    def make(path: Path) -> None:
        from milmer.synthetic.twin import write_backbone

        write_backbone(path)

    return once("twin_backbone", make)


@pytest.fixture(scope="session")
def twin_user(twin, twin_backbone) -> dict:
    """What a user would set to run the twin offline."""
    return {
        "dataset": {"root": str(twin)},
        "faces": {"detector": "haar"},
        "backbone": {"name": str(twin_backbone)},
    }


@pytest.fixture(scope="session")
def twin_results(once, twin, twin_user) -> Path:
    """The twin's trials, segments/default, faces/default and tokens/default/default."""

    def make(path: Path) -> None:
        from milmer.backbone.options import TokensOptions
        from milmer.backbone.tokens import make_tokens
        from milmer.config import load_config
        from milmer.deap.trials import TrialsOptions, make_trials
        from milmer.eeg.options import SegmentsOptions
        from milmer.eeg.segments import make_segments
        from milmer.faces.crops import make_faces
        from milmer.faces.options import FaceStageOptions

        config = load_config(twin_user)
        segments = SegmentsOptions.from_json(config.segments_json("default"))
        faces = FaceStageOptions.from_json(config.faces_json("default"))
        tokens = TokensOptions.from_json(config.tokens_json("default", "default"))
        for subject in ("s01", "s02"):
            trials = path / "trials" / f"{subject}.parquet"
            crops = path / "faces" / "default" / f"{subject}.h5"
            make_trials(twin, subject, TrialsOptions(), trials)
            make_segments(
                trials,
                twin,
                segments,
                path / "segments" / "default" / f"{subject}.h5",
                read_recording,
            )
            make_faces(trials, twin, faces, crops)
            make_tokens(
                crops,
                tokens,
                path / "tokens" / "default" / "default" / f"{subject}.h5",
                twin_user["backbone"]["name"],
            )

    return once("twin_results", make)


@pytest.fixture(scope="session")
def hostile(once) -> Path:
    """What tools/make_hostile_inputs.py writes."""
    return once("hostile", write_hostile_inputs)


@pytest.fixture(scope="session")
def hard(once, recordings) -> Path:
    """What make_hard_inputs.py writes: that beside the recordings, or the one in tools/."""
    tools = [place / "tools" / "make_hard_inputs.py" for place in (recordings.parent, REPOSITORY)]
    tool = next(tool for tool in tools if tool.is_file())
    environment = os.environ | {"PYTHONSAFEPATH": ""}  # it imports what lies beside it
    command = [sys.executable, tool]
    return once("hard", lambda path: subprocess.run([*command, path], check=True, env=environment))


@pytest.fixture(scope="session")
def deap_from_real(once, recordings) -> Callable[..., Path]:
    """``deap_from_real(name, *options)``: what tools/make_deap_from_real.py writes with them."""

    def make(name: str, *options: str) -> Path:
        tool = REPOSITORY / "tools" / "make_deap_from_real.py"
        command = [sys.executable, tool, "--recordings", recordings]
        environment = os.environ | {"PYTHONSAFEPATH": ""}  # it imports what lies beside it
        return once(
            name,
            lambda path: subprocess.run([*command, path, *options], check=True, env=environment),
        )

    return make


@pytest.fixture(scope="session")
def real(deap_from_real) -> Path:
    """A dataset in DEAP's layout made of real EEG and real face video."""
    return deap_from_real("real", "--subjects", "1", "2", "--trials", "16", "--seconds", "12")


@pytest.fixture
def ended(monkeypatch) -> Callable[..., int]:
    """``ended(*arguments)``: the exit status of the command line, without a process of its own."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["milmer", *map(str, arguments)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code

    return run


@pytest.fixture
def inside(ended, capsys) -> Callable[..., tuple[int, str, str]]:
    """The same with what it wrote: exit status, stdout and stderr."""
    return lambda *arguments: (ended(*arguments), *capsys.readouterr())


@pytest.fixture
def refused() -> Callable:
    """``with refused("part of the text", …, nothing_in=folder):`` an error for people.

    Its text is one line that holds all parts, and the folder's files are as they were.
    """

    @contextmanager
    def refusal(*parts: str, nothing_in: Path | None = None) -> Iterator[None]:
        before = _content(nothing_in)
        with pytest.raises(MilmerError) as caught:
            yield
        text = str(caught.value)
        assert "\n" not in text
        assert all(part in text for part in parts), text
        assert _content(nothing_in) == before

    return refusal


def _content(folder: Path | None) -> dict[Path, bytes]:
    files = sorted(folder.rglob("*")) if folder else []
    return {path: path.read_bytes() for path in files if path.is_file()}


@pytest.fixture
def small_disk(tmp_path):
    """``small_disk(size)`` mounts a file system of that size, where nothing is or in a folder."""
    mounted = []

    def mount(size, folder=None):
        folder = folder or tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    if shutil.which("mount") is None or os.getuid():
        pytest.skip("only root can mount a small disk")
    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)

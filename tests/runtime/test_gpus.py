"""GPUs: they are counted without torch, each job leases one, and an assigned one is left alone.

No test needs a GPU: a program named nvidia-smi lists as many as the test wants.
"""

import json
import os
import subprocess
import sys

import pytest
import torch

from milmer.runtime import gpus
from milmer.runtime.device import choose_device
from milmer.runtime.gpus import gpu_lease, visible_gpus
from tests.conftest import fake_gpus, owned_by_another


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """``machine(2)``: this machine has two GPUs; leases of no other test are in the way."""

    def install(count, lines=None):
        monkeypatch.setenv("PATH", fake_gpus(tmp_path / "bin", count, lines))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        gpus._installed_gpus.cache_clear()

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)
    yield install
    gpus._installed_gpus.cache_clear()


def leased(device="auto", jobs=1):
    with gpu_lease(device, jobs):
        return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_gpus_are_counted_by_their_uuids(machine, monkeypatch):
    machine(0)
    assert visible_gpus() == []
    machine(2)
    assert visible_gpus() == ["GPU-fake-0", "GPU-fake-1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert visible_gpus() == ["1", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_a_divided_gpu_is_as_many_as_its_parts(machine):
    machine(
        0,
        [
            "GPU 0: NVIDIA H100 (UUID: GPU-a)",
            "  MIG 1g.10gb     Device  0: (UUID: MIG-b)",
            "  MIG 1g.10gb     Device  1: (UUID: MIG-c)",
            "GPU 1: NVIDIA H100 (UUID: GPU-d)",
        ],
    )
    assert visible_gpus() == ["MIG-b", "MIG-c", "GPU-d"]


def test_each_lease_has_a_gpu_of_its_own_and_gives_it_back(machine):
    machine(2)
    with gpu_lease("auto"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-fake-0"
        assert other_process() == "GPU-fake-1"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert other_process() == "GPU-fake-0"


def test_jobs_spread_over_gpus_before_they_share_one(machine):
    machine(2)
    holders = [hold(jobs=2) for _ in range(4)]
    assert [name for _, name in holders] == ["GPU-fake-0", "GPU-fake-1"] * 2
    for process, _ in holders:
        process.kill()  # kill -9 gives a lease back too
        process.wait()
    assert other_process() == "GPU-fake-0"


def test_who_finds_no_free_gpu_waits(machine):
    machine(1)
    first, _ = hold()
    second = begin()
    assert second.stderr.readline().endswith("waits for one of 1 GPUs\n")
    assert second.poll() is None
    first.kill()
    first.wait()
    assert json.loads(second.stdout.readline()) == "GPU-fake-0"
    second.kill()
    told = second.stderr.read()
    assert "leases GPU GPU-fake-0, 1 of 1" in told
    assert "waits" not in told  # once is enough


@pytest.mark.parametrize("assigned", ["3", "GPU-assigned", ""])
def test_an_assigned_gpu_is_left_as_it_is(machine, monkeypatch, assigned):
    machine(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", assigned)
    assert leased() == assigned


def test_of_several_that_may_be_used_one_is_leased(machine, monkeypatch):
    machine(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with gpu_lease("auto"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
    with pytest.raises(KeyError), gpu_lease("cuda"):
        raise KeyError(os.environ["CUDA_VISIBLE_DEVICES"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert other_process() == "GPU-fake-0"  # which may use all


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_a_device_that_was_chosen_is_not_leased(machine, device):
    machine(2)
    assert leased(device) is None


def test_without_a_gpu_nothing_is_leased(machine):
    machine(0)
    assert leased() is None


def test_a_command_leases_before_torch_is_imported(machine):
    """``milmer train`` fails for want of a split, after it has its GPU and before torch."""
    machine(1)
    code = (
        "import sys, milmer.runtime.gpus, milmer.cli\n"
        "lock = milmer.runtime.gpus._lock_free_gpu\n"
        "def spy(*a): print('torch' in sys.modules); return lock(*a)\n"
        "milmer.runtime.gpus._lock_free_gpu = spy\n"
        "sys.argv = ['milmer', 'train', 'out', '--split', 'none.parquet']\n"
        "milmer.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"
    assert done.returncode == 1


def test_leases_lie_in_a_folder_that_is_open_to_this_user_alone(machine, monkeypatch, tmp_path):
    machine(2)
    leased()
    folder = tmp_path / f"milmer-gpus-{os.getuid()}"
    assert (folder.stat().st_mode & 0o777, any(folder.iterdir())) == (0o700, True)
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    leased()
    assert [path.name for path in runtime.iterdir()] == ["milmer-gpus"]
    assert (runtime / "milmer-gpus").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["none", "a link", "open"])
def test_a_runtime_folder_that_is_not_the_users_alone_is_passed_over(
    machine, monkeypatch, tmp_path, kind
):
    machine(2)
    target, runtime = tmp_path / "target", tmp_path / "runtime"
    target.mkdir(mode=0o700)
    if kind == "a link":
        runtime.symlink_to(target)
    elif kind == "open":
        runtime.mkdir()
        runtime.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    leased()
    assert any((tmp_path / f"milmer-gpus-{os.getuid()}").iterdir())
    assert not list(target.iterdir())
    assert kind == "none" or not list(runtime.iterdir())


@pytest.mark.parametrize("kind", ["a link", "another user's", "open", "a file"])
def test_a_folder_that_somebody_else_made_before_is_refused(
    machine, monkeypatch, tmp_path, refused, kind
):
    machine(2)
    folder, target = tmp_path / f"milmer-gpus-{os.getuid()}", tmp_path / "target"
    target.mkdir(mode=0o700)
    if kind == "a link":
        folder.symlink_to(target)
    elif kind == "a file":
        folder.touch()
    else:
        folder.mkdir(mode=0o700)
    if kind == "open":
        folder.chmod(0o777)
    if kind == "another user's":
        owned_by_another(folder, monkeypatch)
    with refused(str(folder), "cannot hold leases of GPUs", "TMPDIR", nothing_in=tmp_path):
        leased()
    assert not list(target.iterdir())


def begin(jobs=1):
    """Another process that leases a GPU, says which, and keeps it until it is killed."""
    code = (
        "import json, logging, os, sys, time; logging.basicConfig(level=logging.INFO)\n"
        "from milmer.runtime.gpus import gpu_lease\n"
        f"with gpu_lease('auto', {jobs}):\n"
        "    print(json.dumps(os.environ['CUDA_VISIBLE_DEVICES']), flush=True); time.sleep(60)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def hold(jobs=1):
    process = begin(jobs)
    return process, json.loads(process.stdout.readline())


def other_process():
    process, name = hold()
    process.kill()
    process.wait()
    return name


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use the GPU of this machine")
def test_a_gpu_that_torch_cannot_use_is_one_line(machine, monkeypatch, refused):
    machine(2)
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    with refused(
        "device: nvidia-smi lists a GPU that torch cannot use (driver 470.82.01, torch "
        f"{torch.__version__} built for CUDA 12.6); install a driver and a torch that fit, or set "
        "device: cpu"
    ):
        choose_device("auto")
    assert choose_device("cpu").type == "cpu"
    monkeypatch.setenv("MILMER_CPU_INSTEAD", "1")
    assert choose_device("auto").type == "cpu"
    monkeypatch.delenv("MILMER_CPU_INSTEAD")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden, which is said
    assert choose_device("auto").type == "cpu"
    machine(0)
    assert choose_device("auto").type == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # on a node without GPUs
    assert choose_device("auto").type == "cpu"


def test_an_nvidia_smi_that_hangs_is_not_waited_for(machine, tmp_path, monkeypatch, caplog):
    machine(2)
    (tmp_path / "bin/nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(gpus, "_ANSWER_SECONDS", 0.2)
    assert visible_gpus() == []
    assert "nvidia-smi does not answer" in caplog.text


def test_two_allocations_on_a_node_have_gpus_of_their_own(machine, monkeypatch, tmp_path):
    machine(0, ["GPU 0: NVIDIA A100 (UUID: GPU-a)", "GPU 1: NVIDIA A100 (UUID: GPU-b)"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with gpu_lease("auto"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
        machine(0, ["GPU 0: NVIDIA A100 (UUID: GPU-c)", "GPU 1: NVIDIA A100 (UUID: GPU-b)"])
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        assert leased() == "0"  # another one
    machine(0, ["no GPU is listed"])
    for job, expected in (("7", "0"), ("8", "0"), ("7", "1")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        monkeypatch.setenv("SLURM_JOB_ID", job)
        held = gpu_lease("auto")
        held.__enter__()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
        monkeypatch.setitem(_HELD, len(_HELD), held)  # until the test ends


_HELD = {}

"""A SLURM cluster of one node with a GPU that is none, for the tests.

All of it lies in one folder and ends with the process that started it: its own configuration, ports
and munge key. So it leaves /etc/slurm and whatever cluster this machine belongs to alone, and other
tests beside it find no SLURM. No systemd and no root are needed.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

CPUS = 4
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPort={node_port}
SlurmdPidFile={folder}/slurmd.pid
SlurmdLogFile={folder}/slurmd.log
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# Jobs start at once, and squeue knows ended ones for as long as tests may ask.
SchedulerParameters=batch_sched_delay=0,bf_interval=1
MinJobAge=3600
# Processors and memory are as told here, whatever the machine has.
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 Gres=gpu:1
PartitionName=test Nodes={host} Default=YES MaxTime=1-0
PartitionName=other Nodes={host} MaxTime=1-0
"""


def missing() -> str | None:
    """What this machine lacks to start a cluster, if anything."""
    programs = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv")
    absent = [name for name in programs if _program(name) is None]
    return f"no SLURM here: {', '.join(absent)} not found" if absent else None


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run a cluster in ``folder``; gives the environment in which SLURM's commands reach it."""
    for name in ("spool", "state", "bin"):
        (folder / name).mkdir(parents=True)
    configuration = folder / "slurm.conf"
    control_port, node_port = _free_ports(2)
    host = socket.gethostname().split(".")[0]
    configuration.write_text(
        CONFIGURATION.format(
            host=host,
            folder=folder,
            cpus=CPUS,
            user=_user(),
            control_port=control_port,
            node_port=node_port,
        )
    )
    # SLURM counts a GPU where its file is a device.
    (folder / "gres.conf").write_text("AutoDetect=off\nName=gpu File=/dev/null\n")
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    # Inside of a job Snakemake drops the variable that names the configuration.
    step = folder / "bin/srun"
    step.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {_program("srun")} "$@"\n')
    step.chmod(0o755)
    environment = os.environ | {
        "SLURM_CONF": str(configuration),
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
    }
    with ExitStack() as daemons:
        munge = [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file")]
        munge += [f"--seed-file={folder}/munge.seed", f"--key-file={folder}/munge.key", "--force"]
        for command in (
            ["munged", "--foreground", *munge],
            ["slurmctld", "-D", "-c", "-f", configuration],
            ["slurmd", "-D", "-N", host, "-f", configuration],
        ):
            daemons.enter_context(_running(command, folder, environment))
        _wait_for_node(folder, environment)
        yield environment
        subprocess.run(["scancel", "--user", _user()], env=environment, check=False)


@contextmanager
def _running(command: list, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A daemon that ends with this process, even where that is killed."""
    name, *options = command
    with (folder / f"{name}.out").open("wb") as out:
        daemon = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", _program(name), *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()


def _wait_for_node(folder: Path, environment: dict[str, str], seconds: float = 60) -> None:
    ask = ["sinfo", "--noheader", "--format=%T %G"]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        told = subprocess.run(ask, env=environment, capture_output=True, text=True, check=False)
        if told.stdout.startswith("idle gpu:1"):
            return
        time.sleep(0.2)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))
    raise RuntimeError(f"the node is not idle: {told.stdout}{told.stderr}\n{logs}")


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _user() -> str:
    return str(os.getuid())


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]

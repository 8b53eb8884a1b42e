"""What the benchmarks share: interleaved timing, peak memory, and the tables that they print."""

import argparse
import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Timed:
    """The seconds of each round of one contestant, and those of all cores together."""

    seconds: tuple[float, ...]
    cpu: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.seconds)


def interleaved(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timed]:
    """Time each of ``contestants`` in ``rounds`` rounds, in turns, after a round to warm up.

    They take turns because a shared machine gets faster and slower by the minute: what is compared
    is timed within the same seconds.
    """
    for run in contestants.values():
        run()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            gc.collect()
            start, cpu = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - start, time.process_time() - cpu))
    return {name: Timed(*zip(*pairs, strict=True)) for name, pairs in seconds.items()}


def ratio(first: Timed, second: Timed) -> float:
    """Median over the rounds of how many times longer ``first`` took than ``second``."""
    return _ratio(first.seconds, second.seconds)


def cpu_ratio(first: Timed, second: Timed) -> float:
    """The same of the CPU time, which a busy machine changes less."""
    return _ratio(first.cpu, second.cpu)


def _ratio(first: Sequence[float], second: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def once(run: Callable[[], object]) -> Timed:
    """Time a single run, of what takes too long to be repeated."""
    start = time.perf_counter()
    run()
    return Timed((time.perf_counter() - start,))


def memory() -> dict[str, float]:
    """Resident memory of this process in MiB: ``peak``; now ``anonymous`` and mapped ``files``.

    Pages that are mapped from a file count as resident, but the system can take them back. NaN
    where Linux's /proc is missing.
    """
    status = Path("/proc/self/status")
    names = {"peak": "VmHWM", "anonymous": "RssAnon", "files": "RssFile"}
    if not status.exists():
        return dict.fromkeys(names, float("nan"))
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return {name: int(lines[key].split()[0]) / 1024 for name, key in names.items()}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers are shortened to three digits."""
    lines = [header, ["---"] * len(header), *([_short(v) for v in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(threads: int, libraries: Sequence[str]) -> str:
    """One line with the processor, the number of threads and the versions of ``libraries``."""
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    extensions = [name for name in ("avx512_bf16", "amx_bf16") if name in _cpu()[1]]
    return (
        f"{_cpu()[0]}, {os.cpu_count()} cores ({', '.join(extensions) or 'no bfloat16'}), "
        f"{threads} threads; Python {platform.python_version()}, {versions}"
    )


class _Parser(argparse.ArgumentParser):
    def parse_args(self, *given: Any) -> argparse.Namespace:  # type: ignore[override]
        """The options; one round is enough to see that a benchmark runs."""
        args = super().parse_args(*given)
        if args.quick:
            args.rounds = 1
        return args


def arguments(purpose: str | None) -> argparse.ArgumentParser:
    """A parser of the options that all benchmarks share."""
    parser = _Parser(description=(purpose or "").strip().splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a small size and one round, to see that it runs"
    )
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds; medians are printed")
    parser.add_argument("--threads", type=int, default=2, help="threads of each contestant")
    return parser


def child(script: str, *options: str) -> str:
    """Run a benchmark's script in another process and return what it prints."""
    done = subprocess.run(
        [sys.executable, script, *options], check=True, capture_output=True, text=True
    )
    return done.stdout


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _cpu() -> tuple[str, str]:
    """The processor's name and its flags, if the system tells them."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine(), ""
    lines = dict(
        (key.strip(), value.strip())
        for key, _, value in (line.partition(":") for line in info.read_text().splitlines())
    )
    return lines.get("model name", platform.machine()), lines.get("flags", "")

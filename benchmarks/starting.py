"""How long does a job load libraries before it does anything?

Each round starts one Python process a module, in turns, and takes the CPU time until it is
imported. Beside them stand PyTorch alone and PyTorch with what reads and writes files.
"""

import sys
import time

from timing import Timed, arguments, child, machine, ratio, table

TORCH = "torch"
FILES = "torch, numpy, pandas, h5py, pyarrow.parquet, pydantic, safetensors.torch"
STAGES = (
    *("milmer.training.loop", "milmer.evaluation.explain", "milmer.prediction.predict"),
    *("milmer.evaluation.evaluate", "milmer.evaluation.baselines", "milmer.eeg.segments"),
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--imported", help="used by itself: report the time of this import")
    args = parser.parse_args()
    if args.imported:
        print(_seconds(args.imported))
        return
    names = [TORCH, FILES, *STAGES]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(1 if args.quick else args.rounds):
        for name in names:
            seconds[name].append(float(child(__file__, "--imported", name)))
    timed = {name: Timed(tuple(values)) for name, values in seconds.items()}
    rows = [[f"`{n}`", timed[n].median, ratio(timed[n], timed[TORCH])] for n in names]
    print(table(["import", "CPU seconds", "times PyTorch"], rows))
    print()
    print(machine(args.threads, ["torch"]))


def _seconds(modules: str) -> float:
    begin = time.process_time()
    for name in modules.split(", "):
        __import__(name)
        assert name in sys.modules
    return time.process_time() - begin


if __name__ == "__main__":
    main()

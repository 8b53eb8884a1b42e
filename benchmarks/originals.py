"""The stages ``trials`` and ``segments`` on an original recording, beside reading it with MNE.

The recording is the synthetic twin's: a BioSemi file (.bdf) of 1.5 h at 512 Hz with 48 channels,
as many as DEAP's. MNE reads all of it into memory. Our stage reads the trials, resamples, removes
eye artefacts, filters, cuts, writes and validates; it also digests the file. Peak memory is
measured in a separate process for each.
"""

import tempfile
from pathlib import Path

from timing import arguments, child, interleaved, machine, memory, ratio, table

from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.synthetic.twin import TwinOptions, synthesize

BDF = "data_original/s01.bdf"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--artefacts", default="auto", help="auto, none, eog_regression, ica")
    parser.add_argument("--measure", choices=["stage", "mne"], help="run this; print peak memory")
    parser.add_argument("--root", type=Path, help="with --measure: where the recording is")
    args = parser.parse_args()
    if args.measure:
        _once(args.measure, args.root, args.artefacts)
        print(memory()["peak"])
        return
    trials = 2 if args.quick else 80  # of 60 s, with 7 s between them: 1.5 h
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "deap"
        size = {"subjects": 1, "trials": trials, "seconds": 60, "no_video": [1]}
        synthesize(root, TwinOptions(formats=["bdf"], **size))
        make_trials(root, "s01", TrialsOptions(source="bdf"), root / "s01.parquet")
        print(f"{(root / BDF).stat().st_size / 1e6:.0f} MB, {trials} trials")
        print(_compare(root, args.rounds, args.artefacts))
    print()
    print(machine(args.threads, ["numpy", "scipy", "mne", "h5py"]))


def _compare(root: Path, rounds: int, artefacts: str) -> str:
    def trials() -> None:
        make_trials(root, "s01", TrialsOptions(source="bdf"), root / "again.parquet")

    contestants = {
        "reading it with MNE": lambda: _once("mne", root, artefacts),
        "our stage trials": trials,
        "our stage segments": lambda: _once("stage", root, artefacts),
    }
    timed = interleaved(contestants, rounds)
    bare = timed["reading it with MNE"]
    peak = {
        "our stage segments": _peak("stage", root, artefacts),
        "reading it with MNE": _peak("mne", root, artefacts),
    }
    rows = [
        [name, times.median, ratio(times, bare), peak.get(name, "")]
        for name, times in timed.items()
    ]
    return table(["contestant", "s", "times MNE", "peak MiB"], rows)


def _once(contestant: str, root: Path, artefacts: str) -> None:
    if contestant == "mne":
        import mne

        mne.io.read_raw_bdf(root / BDF, preload=True, verbose="error")
        return
    options = SegmentsOptions.model_validate({"eeg": {"artefacts": artefacts}})
    make_segments(root / "s01.parquet", root, options, root / "s01.h5", read_recording)


def _peak(contestant: str, root: Path, artefacts: str) -> float:
    """Peak memory in MiB of a process that runs this contestant once."""
    options = ["--measure", contestant, "--root", str(root), "--artefacts", artefacts]
    return float(child(__file__, *options))


if __name__ == "__main__":
    main()

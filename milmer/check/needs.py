"""What a first run of a configuration would need: disk, and time on two CPU cores.

The whole model of the estimate is here. Sizes follow from the files' formats; the constants below
were measured: rates by the benchmarks in the README (an AMD EPYC with 2 cores, no GPU, YuNet,
Swin-T and training in bfloat16), bytes of a crop on real faces. The rate of segments is that of
preprocessed EEG; original recordings are cleaned too and take longer. Jobs run one after another,
unlike on a cluster, and every model counts as one of the default options. Files that were not
opened count as long as DEAP's.
"""

from dataclasses import dataclass

from milmer.check.deap import DeapFacts, Subject
from milmer.config import Config, Experiment
from milmer.data.segmentation import segment_grid
from milmer.deap.layout import GENEVA, SFREQ
from milmer.faces.crops import frame_numbers
from milmer.readers.video import Clip
from milmer.splits.folds import fold_names, fold_subjects
from milmer.splits.protocols import PROTOCOLS

SEGMENTS_RATE = 2400 / 1.0  # s of EEG a s: about 1 s a subject of 40 trials of 60 s
FACES_RATE = 1221  # decoded frames a s
TOKENS_RATE = 22  # crops a s
TRAIN_RATE = 19.3  # bags a s
CROP_BYTES = 10_000  # a JPEG of 224 x 224 px of quality 95
TOKENS_BYTES = 49 * 768 * 2  # a frame's tokens of Swin-T as float16
MODEL_BYTES = 13_800_000 * 4  # a run's model, float32

DEAP_SECONDS = 60.0
DEAP_CLIP = Clip(fps=50, frames=2952, width=720, height=576)


@dataclass(frozen=True)
class Need:
    """What a stage makes: how many, of what, and the bytes and seconds that it takes."""

    stage: str
    count: int
    what: str
    bytes: int
    seconds: float


def needs(facts: DeapFacts, config: Config) -> list[Need]:
    """Of each stage, for all subjects that a run takes; ``runs`` are those of all experiments."""
    segmentation, faces = config.segmentation, config.faces
    segments = crops = decoded = 0
    seconds = 0.0
    bags: dict[str, int] = {}  # segments with video, by subject
    grids: dict[str, int] = {}  # segments, by subject
    for name, subject in facts.used.items():
        if config.dataset.subjects != "all" and name not in config.dataset.subjects:
            continue
        lengths, clips = _lengths(facts, subject), _clips(facts, subject)
        grid = segment_grid(lengths.items(), segmentation)
        seen = [
            len(
                frame_numbers(
                    segment,
                    clips[segment.trial],
                    segmentation.seconds,
                    faces.instances,
                    faces.min_coverage,
                )
            )
            for segment in grid
            if segment.trial in clips
        ]
        segments += len(grid)
        grids[name] = len(grid)
        crops += sum(seen)
        decoded += sum(clip.frames for clip in clips.values())
        seconds += sum(lengths.values())
        if any(seen):
            bags[name] = sum(count > 0 for count in seen)
    segment_bytes = round(len(GENEVA) * segmentation.seconds * SFREQ) * 4  # float32
    experiments = [config.experiment(name) for name in config.experiments]
    trained = [_training(bags if e.needs_faces else grids, e, config) for e in experiments]
    runs, looks = sum(runs for runs, _ in trained), sum(looks for _, looks in trained)
    if not any(e.needs_faces for e in experiments):
        crops = decoded = 0
    return [
        Need("segments", segments, "segments", segments * segment_bytes, seconds / SEGMENTS_RATE),
        Need("faces", crops, "crops", crops * CROP_BYTES, decoded / FACES_RATE),
        Need("tokens", crops, "crops", crops * TOKENS_BYTES, crops / TOKENS_RATE),
        Need("runs", runs, "models", runs * MODEL_BYTES, looks / TRAIN_RATE),
    ]


def _lengths(facts: DeapFacts, subject: Subject) -> dict[int, float]:
    """Seconds of EEG by trial."""
    if facts.quick:
        return {trial.trial: DEAP_SECONDS for trial in subject.trials}
    return {trial.trial: trial.seconds for trial in subject.with_eeg}


def _clips(facts: DeapFacts, subject: Subject) -> dict[int, Clip]:
    """Clips by trial."""
    clips = {t: DEAP_CLIP if facts.quick else clip for t, clip in subject.clips.items()}
    return {t.trial: clips[t.trial] for t in subject.trials if clips.get(t.trial)}


def _training(bags: dict[str, int], experiment: Experiment, config: Config) -> tuple[int, float]:
    """Runs of an experiment, and bags that they look at in all epochs; ``bags`` by subject."""
    protocols, runs, seen = config.protocols, 0, 0.0
    for protocol in experiment.protocols:
        for fold in fold_names(protocol, list(bags), protocols.folds):
            of_fold = sum(bags[name] for name in fold_subjects(protocol, fold, list(bags)))
            apart = PROTOCOLS[protocol].leaves_subject_out
            tested = bags[fold] if apart else of_fold / protocols.folds
            if of_fold > tested:  # leaving out the only subject leaves nothing to train on
                runs += 1
                seen += (of_fold - tested) * (1 - protocols.validation)
    return runs * protocols.repeats, seen * protocols.repeats * experiment.training.epochs

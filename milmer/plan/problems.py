"""What of a plan cannot work, as far as it costs next to nothing to find out: told before any job.

The main process asks, and so does `milmer check`, which lists all of it; jobs do not ask again.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from milmer.data.segmentation import no_segment, segment_grid
from milmer.deap.layout import SFREQ
from milmer.eeg.options import require_below_nyquist
from milmer.errors import MilmerError
from milmer.faces.model_files import require_model
from milmer.plan.copies import copies
from milmer.plan.plan import Plan
from milmer.runtime.gpus import require_gpu


class Problem(NamedTuple):
    """An error, and the subjects whose stages it would stop; none where it is of all."""

    error: MilmerError
    subjects: tuple[str, ...] = ()


def require_ready(plan: Plan, elsewhere: bool = False) -> None:
    """Raise the first of the :func:`problems`."""
    for problem in problems(plan, elsewhere):
        raise problem.error


def problems(plan: Plan, elsewhere: bool = False) -> Iterator[Problem]:
    """What cannot work; ``elsewhere``: jobs run on other machines, whose devices are not known."""
    yield from _files(plan)
    yield from (Problem(error) for error in _options(plan, elsewhere))
    yield from (Problem(error, subjects) for subjects, error in copies(plan.dataset))


def _files(plan: Plan) -> Iterator[Problem]:
    """Files that are missing, and trials of which the manifest says that they are too short."""
    dataset, segmentation = plan.dataset, plan.config.segmentation
    for subject in dataset.subjects:
        errors = list(dataset.problems(subject))
        errors = errors or list(_errors(lambda s=subject: dataset.eeg_files(s)))
        longest = dataset.longest(subject)
        if longest is not None and not segment_grid([(1, longest)], segmentation):
            errors.append(no_segment(longest, segmentation, f"{dataset.place}: {subject}"))
        yield from (Problem(error, (subject,)) for error in errors)


def _options(plan: Plan, elsewhere: bool) -> Iterator[MilmerError]:
    config, experiments = plan.config, plan.experiments
    sfreq = config.dataset.sfreq if config.dataset.kind == "manifest" else SFREQ
    for variant in experiments.eeg_variants():
        eeg = config.variant("eeg", variant)
        for option, frequency in (("notch", eeg.notch), ("band", eeg.band and eeg.band[1])):
            name = _option("eeg", variant, option)
            if sfreq and frequency:
                yield from _errors(require_below_nyquist, name, frequency, sfreq)
    for variant in experiments.faces_variants():
        yield from _errors(require_model, config.variant("faces", variant))
    devices = {e.training.device for e in experiments.by_name.values()}
    for variant in dict.fromkeys(e.backbone for e in experiments.by_name.values() if e.needs_faces):
        backbone = config.variant("backbone", variant)
        devices.add(backbone.device)
        yield from _errors(backbone.require_folder)
    for name in experiments.by_name:
        unfit = (
            error
            for run in experiments.runs(name)
            for error in _errors(plan.training.init_place, run)
        )
        yield from itertools.islice(unfit, 1)
    for device in sorted(devices) if not elsewhere else ():
        yield from _errors(require_gpu, device)


def _option(section: str, variant: str, name: str) -> str:
    return f"{section}.{name}" if variant == "default" else f"variants.{section}.{variant}.{name}"


def _errors(check: Callable, *arguments: object) -> Iterator[MilmerError]:
    """The error that a check raises, if it does."""
    try:
        check(*arguments)
    except MilmerError as error:
        yield error

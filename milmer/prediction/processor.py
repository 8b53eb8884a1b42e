"""The processor of a trained model: from a recording to what the model takes.

It is Hugging Face's way: ``inputs = processor(eeg=…, video=…)``, then ``model(**inputs)``. It knows
channels, rate, filters, segmentation, face and backbone options from the file that training wrote
beside the weights, so that a new recording is treated as the training data was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from milmer import storage
from milmer.backbone.encoder import PictureFormat
from milmer.backbone.loading import load_backbone
from milmer.backbone.options import LOCAL
from milmer.data.segmentation import Segment
from milmer.eeg.alignment import aligning_matrix
from milmer.errors import MilmerError
from milmer.evaluation import model_card
from milmer.faces.bags import evenly_spaced
from milmer.metrics.calibration import apply_temperature
from milmer.model.configuration import NetworkConfig
from milmer.model.trained import read_config, read_image_processor, taken_pictures
from milmer.prediction.eeg import (
    ArrayEEG,
    ContinuousEEG,
    Signal,
    TrialEEG,
    chosen_channels,
    is_preprocessed,
    kind_notes,
    open_signal,
    require_rate,
)
from milmer.prediction.faces import BagReader, Encode, FaceBag
from milmer.prediction.recipe import Recipe, require_fit
from milmer.prediction.stretches import EEGPart, Span, Stretch, VideoPart, covered, whole_segments
from milmer.readers.eeg import Missing
from milmer.runtime.device import choose_device
from milmer.training.recipe import FILE

if TYPE_CHECKING:
    from transformers import BatchFeature

_CROPS_AT_ONCE = 32  # of a model that holds its backbone


@dataclass(frozen=True)
class Source:
    """A recording: files, or EEG in memory (channel, sample) in µV with its rate and channels.

    ``eog`` (2, sample) are hEOG and vEOG that belong to an array. ``trial`` is the number of a
    trial in a ``.dat`` or ``.mat`` of DEAP. ``missing`` says what is done where a file lacks
    channels (None: as the training data did), ``use_eog`` whether eye artefacts are removed by
    EOG where the training data's were, ``face`` which of several people in the video it is, as in
    the manifest's column of this name.
    """

    eeg: Path | np.ndarray | None = None
    video: Path | None = None
    sfreq: float | None = None
    channels: Sequence[str] | None = None
    eog: np.ndarray | None = None
    trial: int | None = None
    missing: Missing | None = None
    use_eog: bool = True
    face: str | None = None

    @property
    def name(self) -> str:
        """The recording in an error for people."""
        source = self.video if self.eeg is None else self.eeg
        return "eeg" if isinstance(source, np.ndarray) else str(source)


class Prepared(NamedTuple):
    """A segment as the model looks at it: EEG (channel, sample) in µV and its bag.

    Each is null where the model does not look at it; ``eeg_usable`` is false where the EEG is null
    because too many of its channels are bad, and null where the model does not look at EEG.
    """

    segment: Segment
    eeg: np.ndarray | None
    bag: FaceBag | None
    eeg_usable: bool | None

    @property
    def face_seen(self) -> bool | None:
        """Whether an instance is valid; null where the model does not look at faces."""
        return None if self.bag is None else bool(self.bag.valid.any())

    @property
    def complete(self) -> bool:
        """Whether all is there that the model looks at."""
        return self.eeg_usable is not False and self.face_seen is not False


class MilmerProcessor:
    """What makes a model's inputs of recordings.

    ``backbone`` is where the encoder lies that made the training data's tokens, if not where it lay
    then; one with other weights is refused. ``detector_model`` is the file of the face detector,
    ``device`` where the backbone computes; ``faces`` are options of this section that take the
    place of the training's, such as ``detection_size``.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: NetworkConfig,
        image_processor: Any = None,
        backbone: str | None = None,
        detector_model: str | None = None,
        device: str = "auto",
        faces: Mapping[str, Any] | None = None,
    ):
        self.recipe, self.config = recipe, config
        self._image_processor, self._backbone = image_processor, backbone
        self._device = device
        self._faces = {**(faces or {}), "detector_model": detector_model}

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, like: str | Path | None = None, **how: Any
    ) -> Self:
        """Read it from a model's folder; ``how`` are the arguments of the class.

        ``like`` is the folder of another model whose preprocessing a converted checkpoint takes.
        Raises :class:`MilmerError` where the folder is not a model's. Nothing in it is run.
        """
        folder = Path(folder)
        for name in ("_from_auto", "revision", "trust_remote_code"):  # of AutoProcessor
            how.pop(name, None)
        if like is not None and (folder / FILE).is_file():
            raise MilmerError(f"holds a {FILE} of its own", where=folder, remedy="leave out --like")
        recipe = Recipe.read(folder if like is None else Path(like))
        if not (folder / "config.json").is_file():
            raise MilmerError(
                "holds a processor and no model", where=folder, remedy="save the model there too"
            )
        config = read_config(folder)
        if like is not None:
            recipe = recipe.of_converted(list(config.labels))
        require_fit(recipe, config, folder, like)
        holds = config.backbone_config is not None and "face" in config.model.modalities
        pictures = read_image_processor(folder) if holds else None
        return cls(recipe, config, pictures, **how)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the processor to a folder, beside a model that is saved there."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        storage.write_json(folder / FILE, self.recipe.model_dump(mode="json"))
        if (evaluation := self.recipe.evaluation) is not None:
            storage.write_json(folder / model_card.FILE, evaluation.model_dump(mode="json"))
        if self._image_processor is not None:
            self._image_processor.save_pretrained(folder)

    def __call__(
        self,
        eeg: str | Path | np.ndarray | None = None,
        video: str | Path | None = None,
        *,
        sfreq: float | None = None,
        channels: Sequence[str] | None = None,
        eog: np.ndarray | None = None,
        trial: int | None = None,
        offset: float | None = None,
        start: float | None = None,
        stop: float | None = None,
        face: str | None = None,
    ) -> "BatchFeature":
        """The model's inputs for all segments of a recording: ``model(**inputs)``.

        ``eeg`` is a file, or (channel, sample) in µV at ``sfreq`` Hz whose rows are ``channels``;
        see :class:`Source`. The video begins at ``offset`` s of the EEG; ``start`` and ``stop`` in
        s bound what is taken, and ``face`` says which of several people it is. Returns ``eeg``
        (segment, channel, sample) in µV, and ``face_tokens`` (segment, instance, token, dim) or
        ``pixel_values`` (segment, instance, 3, height, width) with ``valid``
        (segment, instance), as the model takes them. What it says of a segment without a valid
        instance means nothing. All of it lies in memory; `milmer predict` does not need that.
        Raises :class:`MilmerError` in one line.
        """
        from transformers import BatchFeature

        eeg = Path(eeg) if isinstance(eeg, str) else eeg
        video = Path(video) if video is not None else None
        source = Source(eeg, video, sfreq, channels, eog, trial, face=face)
        bags = self.bags(source.video is not None)
        if bags is None:
            stretch = self.stretch(source, Span(start, stop, offset))
            return BatchFeature(self.inputs(list(self.prepared(stretch))))
        with bags:
            stretch = self.stretch(source, Span(start, stop, offset), bags)
            return BatchFeature(self.inputs(list(self.prepared(stretch, bags))))

    @property
    def modalities(self) -> list[str]:
        """What the model looks at: eeg, face, or both."""
        return list(self.config.model.modalities)

    def probabilities(self, logits: Tensor) -> np.ndarray:
        """Probabilities (segment, class) of the model's logits, calibrated where they can be."""
        return apply_temperature(
            logits.float().softmax(dim=1).cpu().numpy(), self.recipe.temperature
        )

    # ---------------------------------------------------------------- parts, for milmer predict

    def stretch(self, source: Source, span: Span, bags: BagReader | None = None) -> Stretch:
        """The one stretch that a new recording is; ``bags`` where the model looks at faces."""
        self._require(source)
        notes: list[str] = []
        if "face" not in self.modalities:
            notes += ["The model looks at EEG alone: the video is not read."] * bool(source.video)
        if "eeg" not in self.modalities:
            notes += ["The model looks at faces alone: the EEG is not read."] * (
                source.eeg is not None
            )
        segmentation = self.recipe.segmentation
        clip = bags.probe(source.video) if bags is not None else None
        lacking = 0.0
        if clip is not None:
            notes += [f"Video: {note}." for note in clip.notes]
            coverage = self.recipe.face.options.faces.min_coverage
            lacking = (1 - coverage) * segmentation.seconds
        about: dict[str, Any] = {}
        if "eeg" not in self.modalities:
            begin, end, remarks = span.over(None, source.name, clip, lacking)
            eeg: EEGPart | None = None
        elif source.trial is not None:
            about, part = {"experiment_id": source.trial}, self._trial(source)
            notes += kind_notes(self.recipe.eeg, preprocessed=True)
            begin, end, remarks = span.over(part.seconds, source.name, clip, lacking)
            if begin > 0 or end < part.seconds:
                raise MilmerError(
                    "--start, --stop and an --offset above 0 go with continuous recordings, not "
                    "with --trial"
                )
            eeg = part
        else:
            signal, pairs, remarks = self._signal(source)
            notes += remarks + kind_notes(self.recipe.eeg, preprocessed=False)
            begin, end, remarks = span.over(signal.seconds, source.name, clip, lacking)
            eeg = ContinuousEEG(source.name, signal, self.recipe.eeg, pairs, begin, end - begin)
        grid, video = whole_segments(source.name, end - begin, segmentation), None
        offset = (span.offset or 0.0) if eeg is not None else 0.0
        if clip is not None:
            frames = bags.numbers(grid, clip, begin - offset)
            video = VideoPart(source.video, clip, frames, source.face)
            grid, video, short = covered(grid, video)
            remarks = remarks + short
        return Stretch(about, grid, begin, eeg, video, offset, notes + remarks)

    def prepared(self, stretch: Stretch, bags: BagReader | None = None) -> Iterator[Prepared]:
        """The segments of a stretch in their order, each prepared when it is asked for."""
        eeg = stretch.eeg.segments(stretch.grid) if stretch.eeg is not None else None
        if eeg is not None and self.recipe.eeg.alignment == "euclidean":
            # By itself, as a recording of nobody in the training part: read twice, kept nowhere.
            matrix = aligning_matrix(x for x in eeg if x is not None)
            again = stretch.eeg.segments(stretch.grid)
            eeg = (None if x is None else matrix @ x for x in again)
        video = stretch.video
        faces = None
        if video is not None:
            faces = bags.bags(video.path, video.clip, video.numbers, video.face)
        for segment in stretch.grid:
            x = next(eeg) if eeg is not None else None
            bag = next(faces) if faces is not None else None
            yield Prepared(segment, x, bag, None if eeg is None else x is not None)

    def inputs(self, prepared: Sequence[Prepared]) -> dict[str, Tensor]:
        """The model's arguments for these segments."""
        inputs: dict[str, Tensor] = {}
        if "eeg" in self.modalities:
            if not all(p.eeg_usable for p in prepared):
                raise MilmerError(
                    "part of it cannot be used: bad channels, gaps, marks or amplitudes",
                    where="eeg",
                    remedy="leave it out",
                )
            inputs["eeg"] = torch.from_numpy(np.stack([p.eeg for p in prepared]))
        if prepared[0].bag is not None:
            faces = torch.stack([p.bag.faces for p in prepared]).float()
            inputs["face_tokens" if self._image_processor is None else "pixel_values"] = faces
            inputs["valid"] = torch.from_numpy(np.stack([p.bag.valid for p in prepared]))
        return inputs

    def bags(self, with_video: bool = True) -> BagReader | None:
        """What makes bags of videos; None where the model does not look at faces."""
        recipe = self.recipe.face
        if recipe is None or not with_video:
            return None
        batch = _CROPS_AT_ONCE if recipe.backbone is None else recipe.backbone.batch_size
        return BagReader(recipe, self._faces, self._encode, batch, self._row, self.instances)

    @cached_property
    def instances(self) -> np.ndarray:
        """Which of a bag's cached instances the model looks at (instance,)."""
        cached = self.recipe.face.options.faces.instances
        return evenly_spaced(cached, self.config.num_instances)

    @property
    def _row(self) -> Tensor:
        """What the model sees of a frame that is not valid."""
        if self._image_processor is None:
            return torch.zeros(self.config.num_tokens, self.config.token_dim, dtype=torch.float16)
        side = self._pictures.size
        return torch.zeros(3, side, side)

    @cached_property
    def _pictures(self) -> PictureFormat:
        return taken_pictures(self.config, self._image_processor)

    @cached_property
    def _encode(self) -> Encode:
        recipe, config = self.recipe.face, self.config
        device = choose_device(self._device)
        if self._image_processor is not None:
            return lambda x: self._pictures.prepare(x.to(device))
        name = self._backbone or recipe.backbone.name
        if name == LOCAL:
            raise MilmerError(
                "the backbone that encoded the training data lay in a local directory; its weights "
                f"have the digest {recipe.fingerprint[:12]}…",
                remedy="say where it is (--backbone)",
            )
        backbone = load_backbone(recipe.backbone.updated({"name": name}), device)
        if backbone.fingerprint != recipe.fingerprint:
            raise MilmerError(
                "not the backbone that the model was trained with: its weights have the digest "
                f"{backbone.fingerprint[:12]}…, not {recipe.fingerprint[:12]}…",
                where=name,
                remedy="give the right one (--backbone)",
            )
        if (backbone.tokens, backbone.dim) != (config.num_tokens, config.token_dim):
            raise MilmerError(
                f"makes {backbone.tokens} tokens of {backbone.dim} numbers, and the model looks at "
                f"{config.num_tokens} of {config.token_dim}",
                where=name,
                remedy="name a run with the model's backbone (--like)",
            )
        return backbone

    def _require(self, source: Source) -> None:
        present = {"eeg": source.eeg is not None, "face": source.video is not None}
        absent = [m for m in self.modalities if not present[m]]
        if absent:
            looks = {"eeg": "EEG", "face": "faces"}
            seen = " and ".join(looks[m] for m in self.modalities)
            option = {"eeg": "--eeg", "face": "--video"}[absent[0]]
            raise MilmerError(f"the model looks at {seen}: give {option} as well")

    def _trial(self, source: Source) -> TrialEEG:
        if isinstance(source.eeg, np.ndarray) or not is_preprocessed(source.eeg):
            raise MilmerError("--trial goes with a .dat or .mat of DEAP", where=source.name)
        return TrialEEG(source.eeg, source.trial, self.recipe.eeg)

    def _signal(self, source: Source) -> tuple[Signal, Sequence[Sequence[str]] | None, list[str]]:
        recipe = self.recipe.eeg
        if not isinstance(source.eeg, np.ndarray):
            if is_preprocessed(source.eeg):
                raise MilmerError(
                    "holds one trial after the other",
                    where=source.eeg,
                    remedy="say which one (--trial)",
                )
            recorded = recipe.options.recording
            usual = recorded.missing_channels if recorded is not None else "refuse"
            return open_signal(source.eeg, recipe, source.missing or usual, source.use_eog)
        if source.sfreq is None or source.channels is None or source.eeg.ndim != 2:
            raise MilmerError(
                "an array is (channel, sample)",
                where="eeg",
                remedy="give its sfreq and channels too",
            )
        if len(source.channels) != len(source.eeg):
            raise MilmerError(
                f"{len(source.channels)} channels are named and {len(source.eeg)} given",
                where="eeg",
            )
        if not np.isfinite(source.eeg).all():
            raise MilmerError("holds values that are not finite", where="eeg")
        picks = chosen_channels("eeg", source.channels, recipe.channels)
        require_rate("eeg", source.sfreq, recipe)
        wants = recipe.artefacts != "none" and source.use_eog
        if wants and source.eog is None:
            raise MilmerError(
                "eye artefacts were removed from the training data by hEOG and vEOG",
                where="eeg",
                remedy="give them as eog (2, sample)",
            )
        signal = ArrayEEG(source.eeg[picks], source.sfreq, source.eog if wants else None)
        return signal, [[name] for name in ("hEOG", "vEOG")] if wants else None, []

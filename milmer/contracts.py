"""What the files between stages hold: the arrays, columns and facts that readers count on.

A file that was tampered with may carry this package's mark and lack any of them, or hold them as
something else. :mod:`milmer.storage` compares a file with the contract of its stage when it is
opened, so that no reader after it has to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PositiveFloat,
    ValidationError,
    model_validator,
)

from milmer.errors import MilmerError
from milmer.limits import parse_json

AGAIN = "delete it and run again"
"""What to do about a file of ours that is damaged."""


@dataclass(frozen=True)
class Array:
    """The contract of one HDF5 dataset: its dtype and the names of its dimensions.

    Dimensions of the same name have the same length throughout a file. ``jpeg`` is a variable
    number of bytes an element, ``S16`` a word of up to 16. The values are below the length of the
    dimension ``indexes``.
    """

    dtype: str
    dims: tuple[str, ...]
    indexes: str = ""


Schema = Mapping[str, Array]

_GRID = {"experiment_id": Array("int32", ("segment",)), "position": Array("int32", ("segment",))}
SEGMENTS = {
    "eeg": Array("float32", ("segment", "channel", "sample")),
    **_GRID,
    "start": Array("float32", ("segment",)),
    "rejected": Array("S16", ("segment",)),  # why it cannot be used, empty where it can
}
FOUND = ("searched", "detected", "several", "tracks", "switches", "second_searches", "gaps")
"""What was found in a clip: milmer.faces.cropper.Found."""
FACES = {
    "image": Array("jpeg", ("frame",)),
    "box": Array("float32", ("frame", "side")),
    "score": Array("float32", ("frame",)),
    "detected": Array("bool", ("frame",)),
    "faces_seen": Array("int32", ("frame",)),
    "track": Array("int32", ("frame",)),  # from 1 in each clip, 0 where the box is borrowed
    "time": Array("float32", ("frame",)),
    "bag": Array("int32", ("segment", "instance"), indexes="frame"),
    **_GRID,
    **{f"clip_{name}": Array("int32", ("clip",)) for name in FOUND},
}
TOKENS = {
    "tokens": Array("float16", ("frame", "token", "dim")),
    "bag": Array("int32", ("segment", "instance"), indexes="frame"),
    "valid": Array("bool", ("segment", "instance")),
    **_GRID,
}
EXPLANATION = {
    "channel": Array("float32", ("channel",)),
    "attention": Array("float32", ("height", "width")),
}
_ARRAYS = {"segments": SEGMENTS, "faces": FACES, "tokens": TOKENS, "explain": EXPLANATION}


class Facts(BaseModel):
    """Plain values by name; what no reader counts on may be there too."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _BadChannel(Facts):
    channel: str
    why: str
    experiment_ids: list[int]
    done: str


class _Component(Facts):
    index: int
    r: dict[str, float]
    variance: float
    map: dict[str, float]


class _Cleaned(Facts):
    artefacts: str = "none"
    bad_channels: list[_BadChannel] = []
    removed_variance: dict[str, float] = {}
    coefficients: dict[str, dict[str, float]] = {}
    removed: list[_Component] = []


class _Explanation(Facts):
    channels: list[str]


class _Segments(_Explanation):
    sfreq: PositiveFloat
    cleaned: _Cleaned


_ATTRIBUTES = {"segments": _Segments, "explain": _Explanation}


def having(*names: str) -> AfterValidator:
    """Validates that a mapping has these ``names``."""

    def check(value: dict[str, Any]) -> dict[str, Any]:
        if missing := [name for name in names if name not in value]:
            raise ValueError(f"lacks {missing[0]}")
        return value

    return AfterValidator(check)


class TableMetadata(Facts):
    """What stands in the metadata of a table."""

    stage: str
    digest: str
    provenance: dict[str, Any]


class Origin(Facts):
    """What a file was made from, and what each of its inputs was."""

    options: dict[str, Any]
    inputs: dict[str, str]
    upstream: "dict[str, Origin]"


class _Split(Facts):
    protocol: str
    fold: str
    leaky: bool
    labels: list[str]
    scheme: str
    permuted: bool = False
    warnings: list[str]
    validation_groups: list[str] = []
    same_stimulus: list[list[int]] = []


class _Run(_Split):
    seed: int
    select: str
    epoch: int
    classes: list[int]
    segments: dict[str, int]
    subjects: dict[str, int]
    without_valid_face: dict[str, int]
    rejected: dict[str, int]
    logit_shares: dict[str, float] = {}
    modalities: list[str]
    num_instances: int
    holds_backbone: bool
    parameters: int

    @model_validator(mode="after")
    def _a_count_a_class(self) -> Self:
        if len(self.classes) != len(self.labels):
            raise ValueError("classes are not of the labels")
        return self


class _Baseline(Facts):
    protocol: str
    fold: str
    leaky: bool
    labels: list[str]
    permuted: bool
    shares: list[float]
    rejected: dict[str, int] = {}

    @model_validator(mode="after")
    def _a_share_a_class(self) -> Self:
        if len(self.shares) != len(self.labels):
            raise ValueError("shares are not of the labels")
        return self


_FACTS: dict[str, type[Facts]] = {"split": _Split, "baseline": _Baseline}
_FACTS |= dict.fromkeys(("predictions", "validation", "history"), _Run)
_PREDICTIONS = ("predictions", "validation", "baseline")

_SEGMENT = {"subject": "text", "experiment_id": "integer", "position": "integer"}
_PREDICTED = {**_SEGMENT, "label": "class"}
_TRIAL = {
    **{"subject": "text", "trial": "integer", "experiment_id": "integer"},
    **{"eeg_file": "text?", "eeg_seconds": "measure?", "video_file": "text?"},
}
_COLUMNS = {
    "trials": _TRIAL,
    "split": {**_PREDICTED, "part": "text"},
    "predictions": _PREDICTED,
    "validation": _PREDICTED,
    "baseline": _PREDICTED,
    "history": {"epoch": "integer", "train_loss": "number?"},
}
_OPTIONAL = {
    **dict.fromkeys(("valence", "arousal", "dominance", "liking", "familiarity"), "measure?"),
    **{"eeg_start": "measure?", "video_start": "measure?", "stimulus": "text?"},
    **{"chosen": "numbers?", "scores": "numbers?", "test_probabilities": "numbers?"},
    **dict.fromkeys(("val_macro_f1", "test_accuracy"), "number?"),
}
"""Columns that tables of some datasets or experiments have."""

_KINDS = {
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "integer": pa.types.is_integer,
    "class": pa.types.is_integer,
    "boolean": pa.types.is_boolean,
    "measure": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
    "number": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
    "numbers": lambda kind: pa.types.is_list(kind) and pa.types.is_floating(kind.value_type),
}


def require_arrays(file: h5py.File, schema: Schema, path: Path, remedy: str = "") -> None:
    """Refuse a file whose datasets are not those of ``schema``."""
    if problem := _difference(file, schema):
        raise MilmerError(problem, where=path, remedy=remedy)


def _difference(file: h5py.File, schema: Schema) -> str | None:
    if set(file) != set(schema):
        return f"datasets {sorted(file)}, expected {sorted(schema)}"
    sizes: dict[str, int] = {}
    for name in sorted(schema):
        data, array = file[name], schema[name]
        if not isinstance(data, h5py.Dataset) or data.ndim != len(array.dims):
            shape = data.shape if isinstance(data, h5py.Dataset) else None
            return f"{name} has shape {shape}, expected {array.dims}"
        for dim, size in zip(array.dims, data.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                return f"{name} has {size} along {dim}, others {sizes[dim]}"
        if array.dtype != kind(data):
            return f"{name} is {kind(data)}, expected {array.dtype}"
    for name, array in schema.items():
        if array.indexes and np.max(file[name][()], initial=-1) >= sizes[array.indexes]:
            return f"{name} goes beyond the {sizes[array.indexes]} along {array.indexes}"
    return None


def kind(data: h5py.Dataset) -> str:
    """The dtype's name as in :class:`Array`."""
    base = h5py.check_vlen_dtype(data.dtype)
    if base is not None:
        return "jpeg" if base == np.uint8 else f"{base} of any length"
    if data.dtype.kind == "S":
        return data.dtype.str.strip("|")
    return data.dtype.name if data.dtype.isnative else data.dtype.str


def require_stage(file: h5py.File, stage: str, path: Path) -> None:
    """Refuse a file of ``stage`` that does not hold what its readers count on."""
    if stage not in _ARRAYS:
        return
    require_arrays(file, _ARRAYS[stage], path, AGAIN)
    if (model := _ATTRIBUTES.get(stage)) is None:
        return
    names = model.model_fields
    facts = {name: attribute(file, name, path) for name in names}
    require(model, facts, path)
    count = file["eeg"].shape[1] if stage == "segments" else file["channel"].shape[0]
    if len(facts["channels"]) != count:
        problem = f"names {len(facts['channels'])} channels, and holds {count}"
        raise MilmerError(problem, where=path, remedy=AGAIN)


def scalar(file: h5py.File, name: str) -> Any:
    """An attribute that is one text or number; None where it is missing or anything else.

    An array of texts is never read: all could refer to one long text in the file.
    """
    if name not in file.attrs or file.attrs.get_id(name).shape != ():
        return None
    value = file.attrs[name]
    return value.item() if isinstance(value, np.generic) else value


def attribute(
    file: h5py.File, name: str, path: Path, mapping: Callable[[dict], Any] | None = None
) -> Any:
    """An attribute of a file of ours: a number, or a text in JSON, which is parsed."""
    value = scalar(file, name)
    if value is None:
        raise MilmerError(f"does not say its {name}: damaged", where=path, remedy=AGAIN)
    return parse_json(value, path, AGAIN, mapping) if isinstance(value, str | bytes) else value


def require_columns(table: pa.Table, stage: str, facts: Mapping[str, Any], path: Path) -> None:
    """Refuse a table of ``stage`` without the columns that its readers count on.

    ``facts`` are those of its provenance. A question mark after a kind allows nulls, which of a
    ``measure`` are numbers too.
    """
    labels = facts.get("labels", ()) if stage in _PREDICTIONS else ()
    columns = _COLUMNS.get(stage, {}) | {f"p_{name}": "number" for name in labels}
    may_be_empty = stage == "validation" or "skipped" in facts
    if columns and not may_be_empty and not len(table):
        raise MilmerError("holds no rows", where=path, remedy=AGAIN)
    columns |= {n: k for n, k in _OPTIONAL.items() if columns and n in table.column_names}
    require_kinds(table, columns, path, len(facts.get("labels", ())))
    if stage in _PREDICTIONS:
        segments = table.group_by(["subject", "experiment_id", "position"]).aggregate([])
        if len(segments) < len(table):
            raise MilmerError("holds a segment twice", where=path, remedy=AGAIN)


def require_kinds(
    table: pa.Table, columns: Mapping[str, str], path: Path, classes: int = 0
) -> None:
    """Refuse a table without ``columns`` of these kinds; see :func:`require_columns`."""
    for name, kind in columns.items():
        if table.column_names.count(name) != 1:
            raise MilmerError(f"has no column {name}", where=path, remedy=AGAIN)
        column, is_kind = table[name], _KINDS[kind.rstrip("?")]
        if not len(table):
            continue
        untyped = kind.endswith("?") and kind != "measure?" and pa.types.is_null(column.type)
        if not is_kind(column.type) and not untyped:
            problem = f"{name} holds {column.type}, not {kind.rstrip('?')}"
            raise MilmerError(problem, where=path, remedy=AGAIN)
        if not kind.endswith("?") and not _complete(column):
            raise MilmerError(f"{name} lacks values", where=path, remedy=AGAIN)
        if kind == "class" and classes:
            lowest, highest = pc.min_max(column).as_py().values()
            if lowest < 0 or highest >= classes:
                problem = f"{name} goes beyond the {classes} classes"
                raise MilmerError(problem, where=path, remedy=AGAIN)


def _complete(column: pa.ChunkedArray) -> bool:
    """Whether no value is null, not a number or infinite."""
    if column.null_count:
        return False
    finite = pc.is_finite(column) if pa.types.is_floating(column.type) else []
    return bool(np.all(finite))


def require_provenance(facts: Any, stage: str, path: Path) -> None:
    """Refuse provenance without what it must tell, or with something else."""
    require(Origin, facts, path)
    if "facts" in facts and stage in _FACTS:
        require(_FACTS[stage], facts["facts"], path)


def require(model: type[BaseModel], value: Any, path: Path) -> None:
    """Refuse plain values that are not those of ``model``."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))[:100]
        raise MilmerError(
            f"damaged, or of another version ({key}: {first['msg'][:200]})",
            where=path,
            remedy=AGAIN,
        ) from error

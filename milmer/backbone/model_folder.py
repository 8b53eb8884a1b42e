"""Model folders in Hugging Face's format, from whomever: data that is checked before it is used.

No code that a folder brings or names is run, weights are read from ``model.safetensors`` alone, and
sizes in the configuration are compared with the weights before a model of these sizes is built.
"""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import nn

from milmer.errors import MilmerError
from milmer.limits import read_json

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
MOST = {"image_size": 2048, "window_size": 64}
"""The largest sizes of a backbone: px of a picture, tokens along a window."""

_MOST_OTHERS = 10**6  # of any other whole number in a configuration
_ELSEWHERE = (
    "auto_map",
    "backbone",  # of detectors, by its name on the hub
    "configuration_files",
    "quantization_config",
    "transformers_weights",
)
_LAYERS = ("depths", "num_layers", "num_hidden_layers")

Shapes = dict[str, tuple[int, ...]]


def require_config(
    folder: Path, families: Collection[str] = (), auto_map: dict[str, str] | None = None
) -> dict[str, Any]:
    """The configuration in a model's folder as plain values.

    ``auto_map`` is that of our own models, which is not run either. Raises :class:`MilmerError`
    unless it is one of ``families``, where these are given, within sensible sizes, and neither
    brings code nor refers to other files; its image processor's likewise.
    """
    config = _read(folder / CONFIG, auto_map)
    for name in _PROCESSORS:
        if (folder / name).is_file():
            _require_normalisation(folder / name, _read(folder / name))
    if families and config.get("model_type") not in families:
        raise MilmerError(
            f"is of type {str(config.get('model_type'))[:80]}",
            where=folder,
            remedy=f"give a model of type {' or '.join(families)}",
        )
    return config


def require_weights(folder: Path, config: dict[str, Any]) -> Shapes:
    """The shapes of the tensors in a model's folder, from the header of its weights.

    Raises :class:`MilmerError` where it is missing or damaged, or has fewer tensors than the
    configuration has layers.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise MilmerError(
            f"holds no {WEIGHTS}",
            where=folder,
            remedy="save the model with save_pretrained; pickled weights are not read",
        )
    try:
        with safe_open(path, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise MilmerError(
            f"damaged ({error})", where=path, remedy="save the model again"
        ) from error
    layers = [n for key, n in _items(config) if key in _LAYERS and isinstance(n, int)]
    if sum(layers) > len(shapes):
        raise MilmerError(
            f"describes {sum(layers)} layers, but {WEIGHTS} has {len(shapes)} tensors",
            where=folder / CONFIG,
        )
    return shapes


def require_fit(model: nn.Module, shapes: Shapes, folder: Path) -> None:
    """Refuse weights of these ``shapes`` that are fewer than ``model`` has, built on ``meta``."""
    needed = sum(parameter.numel() for parameter in model.parameters())
    if needed > (count := sum(map(math.prod, shapes.values()))):
        raise MilmerError(
            f"describes {needed:,} weights, but {WEIGHTS} holds {count:,}", where=folder / CONFIG
        )


def require_complete(info: dict[str, Any], place: object) -> None:
    """Refuse a model that transformers loaded with tensors missing, by its loading ``info``."""
    if missing := sorted(map(str, info["missing_keys"])):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise MilmerError(f"its weights lack {missing[0]}{more}", where=place)


@contextmanager
def loading_errors(problem: str, where: object, remedy: str) -> Iterator[None]:
    """Turn whatever a model's folder does to transformers into a :class:`MilmerError`."""
    try:
        yield
    except MilmerError:
        raise
    except Exception as error:  # of any type: options of wrong types reach far into transformers
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise MilmerError(f"{problem} ({reason[:300]})", where=where, remedy=remedy) from error


def _read(path: Path, auto_map: dict[str, str] | None = None) -> dict[str, Any]:
    config = read_json(path)
    for key, value in _items(config):
        if key == "auto_map" and value == auto_map:
            continue
        kernel = key.endswith("attn_implementation") and "/" in str(value)
        if kernel or (key in _ELSEWHERE and value is not None):
            raise MilmerError(
                f"{key} asks for code or files from elsewhere, which are never run or read",
                where=path,
                remedy="give a model without it",
            )
        if isinstance(value, int | float) and not abs(value) <= MOST.get(key, _MOST_OTHERS):
            raise MilmerError(f"{key[:80]} is {str(value)[:20]}, which is too large", where=path)
    return config


def _items(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All values in a JSON value with the name that each stands under."""
    yield key, value
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _items(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from _items(part, key)


def _require_normalisation(path: Path, processor: dict[str, Any]) -> None:
    """Refuse means and deviations of colours that are not three numbers, the latter above 0."""
    for options in (processor, processor.get("image_processor")):
        for key, lowest in (("image_mean", -math.inf), ("image_std", 0)):
            if not isinstance(options, dict) or key not in options:
                continue
            value = options[key]
            numbers = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
            if not numbers or len(value) != 3 or min(value) <= lowest:
                raise MilmerError(f"{key} must be three numbers", where=path)

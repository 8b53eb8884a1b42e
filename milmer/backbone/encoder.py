"""Vision encoders of any family in transformers: from prepared pictures to a grid of tokens.

A family gives patch tokens, behind a class token and registers or not, or a feature map. What it
gives is found out with a blank picture: there is no table of families.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from milmer.backbone.model_folder import MOST
from milmer.errors import MilmerError

_MOST_SPECIAL = 16  # class, distillation and register tokens before the patches
_OWN_SIZE = ("swin", "swinv2")  # whose processors say less of the pictures than the encoder
_AS = {"vit_mae": "vit"}  # a MAE masks patches at random; a ViT has the same tensors and masks none


@dataclass(frozen=True)
class PictureFormat:
    """How an encoder takes its pictures.

    They are ``size`` x ``size`` px; ``mean`` and ``std`` are of RGB in 0..1, and ``bgr`` reverses
    the colours.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False

    def prepare(self, pictures: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Pixel values (frame, 3, size, size) of RGB ``pictures`` uint8 (frame, h, w, 3)."""
        mean, std = (
            torch.tensor(values, dtype=dtype, device=pictures.device)
            for values in (self.mean, self.std)
        )
        x = prepare(pictures, self.size, mean, std, dtype)
        return x.flip(1).contiguous(memory_format=torch.channels_last) if self.bgr else x


def prepare(
    pictures: Tensor, image_size: int, mean: Tensor, std: Tensor, dtype: torch.dtype
) -> Tensor:
    """Pixel values for a backbone: ``pictures`` resized to its size and normalised.

    From RGB uint8 (frame, height, width, 3) to ``dtype`` (frame, 3, image_size, image_size);
    ``mean`` and ``std`` (3,) are of RGB in 0..1, on the pictures' device.
    """
    x = pictures.permute(0, 3, 1, 2).to(dtype)
    if x.shape[-2:] != (image_size, image_size):
        size = (image_size, image_size)
        # In float32: PyTorch has no such resampling in bfloat16 on a CPU.
        x = nn.functional.interpolate(x.float(), size, mode="bicubic", antialias=True)
        x = x.clamp(0, 255).to(dtype)
    mean, std = (t.view(1, 3, 1, 1) for t in (mean, std))
    return ((x / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def picture_format(processor: Any, config: Any) -> PictureFormat:
    """What an image ``processor`` and its encoder's ``config`` say of the pictures.

    A crop is resized to the size that others crop pictures to: it is a crop already.
    """
    image_size = getattr(config, "image_size", None)
    cropped = processor.crop_size if getattr(processor, "do_center_crop", False) else None
    of_processor = cropped or processor.size or image_size
    chosen = image_size if config.model_type in _OWN_SIZE else of_processor
    sides = {int(side) for side in _sides(chosen)}
    if len(sides) != 1 or not 0 < (size := sides.pop()) <= MOST["image_size"]:
        raise MilmerError(
            f"takes pictures of {' x '.join(map(str, _sides(chosen))) or 'no known size'}",
            remedy=f"give a model for square pictures of up to {MOST['image_size']} px",
        )
    normalised = getattr(processor, "do_normalize", True)
    mean, std = (processor.image_mean, processor.image_std) if normalised else ([0.0], [1.0])
    return PictureFormat(
        size,
        tuple(map(float, mean if len(mean) == 3 else mean * 3)),
        tuple(map(float, std if len(std) == 3 else std * 3)),
        bool(getattr(processor, "do_flip_channel_order", False)),
    )


def _sides(size: Any) -> list[float]:
    """The sides that a size in any of transformers' forms tells."""
    if isinstance(size, int | float):
        return [size]
    if isinstance(size, list | tuple):
        return list(size)
    values = dict(size or {})
    keys = ("height", "width") if values.get("height") else ("shortest_edge",)
    return [values[key] for key in keys if values.get(key)]


def image_families() -> set[str]:
    """The types of models that transformers knows as models of images."""
    from transformers.models.auto import configuration_auto, modeling_auto

    families = {
        *modeling_auto.MODEL_FOR_IMAGE_MAPPING_NAMES,
        *modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        *(n for n in configuration_auto.CONFIG_MAPPING_NAMES if n.endswith("_vision_model")),
    }
    return {name for name in families if not name.startswith("timm")}  # these load code of others


def require_image_family(kind: object, where: object) -> None:
    """Refuse a type of model that transformers does not know as one of images."""
    if kind not in image_families():
        raise MilmerError(
            f"is of type {str(kind)[:80]}",
            where=where,
            remedy="give an image model that transformers knows, such as a Swin, ViT, DINOv2, "
            "CLIP's vision model or ConvNeXt",
        )


def encoder_config(config: Any) -> Any:
    """The configuration of the encoder in a model's: of CLIP the part that sees."""
    from transformers import AutoConfig

    config = getattr(config, "vision_config", config)
    if config.model_type not in _AS:
        return config
    values = config.to_dict() | {"model_type": _AS[config.model_type]}
    return AutoConfig.for_model(**values)


def without_pooling(config: Any) -> dict[str, Any]:
    """The arguments that leave out a layer for the whole picture, where a family has one."""
    from transformers import MODEL_MAPPING

    kind = MODEL_MAPPING[type(config)]
    kind = kind[0] if isinstance(kind, tuple) else kind
    takes_it = "add_pooling_layer" in inspect.signature(kind).parameters
    return {"add_pooling_layer": False} if takes_it else {}


def build_encoder(config: Any) -> nn.Module:
    """An encoder of ``config`` with new weights."""
    from transformers import AutoModel

    return AutoModel.from_config(config, trust_remote_code=False, **without_pooling(config))


def picture_tokens(encoder: nn.Module, pixel_values: Tensor, count: int | None = None) -> Tensor:
    """Tokens (frame, T, D) of ``pixel_values`` (frame, 3, size, size), row by row of the grid.

    Class and register tokens are left out. Where ``count`` is not the number of patches, they are
    averaged over ``count`` parts of the grid.
    """
    tokens = encoder(pixel_values).last_hidden_state
    if tokens.dim() == 4:  # a map (frame, D, height, width)
        tokens = tokens.flatten(2).transpose(1, 2)
    else:
        tokens = tokens[:, _special_tokens(encoder.config, pixel_values, tokens.shape[1]) :]
    if count is None or count == tokens.shape[1]:
        return tokens
    rows = _averages(math.isqrt(tokens.shape[1]), math.isqrt(count)).to(tokens)
    return torch.kron(rows, rows) @ tokens


def _special_tokens(config: Any, pixel_values: Tensor, count: int) -> int:
    """How many of ``count`` tokens are before the patches: of no place in the picture."""
    size = getattr(config, "patch_size", None)
    side = pixel_values.shape[-1] // size if isinstance(size, int) else 0
    if 0 < side * side <= count:
        return count - side * side
    return count - math.isqrt(count) ** 2  # patches were merged


def _averages(before: int, after: int) -> Tensor:
    """Rows (after, before) that average ``before`` places in a line to ``after``."""
    rows = torch.zeros(after, before)
    for i in range(after):
        part = slice(i * before // after, -(-(i + 1) * before // after))
        rows[i, part] = 1 / (part.stop - part.start)
    return rows


@torch.no_grad()
def probe_encoder(encoder: nn.Module, size: int, pool: int | str) -> tuple[int, int]:
    """T and D of the tokens that ``encoder`` gives of a blank picture, pooled to ``pool``.

    Raises :class:`MilmerError` where it gives none.
    """
    training, parameter = encoder.training, next(encoder.parameters())
    blank = torch.zeros(1, 3, size, size, dtype=parameter.dtype, device=parameter.device)
    gives: Callable[[str], MilmerError] = lambda what: MilmerError(  # noqa: E731
        f"an encoder of type {encoder.config.model_type} gives {what}",
        remedy="give one with patch tokens or a feature map",
    )
    encoder.eval()
    try:
        raw = encoder(blank).last_hidden_state
        tokens = picture_tokens(encoder, blank)
    except Exception as error:  # of any type: what families ask for is their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise gives(f"no tokens of a picture of {size} px ({reason[:200]})") from error
    finally:
        encoder.train(training)
    count, dim = tokens.shape[1:]
    special = raw.shape[1] - count if raw.dim() == 3 else 0
    if tokens.dim() != 3 or not count or special > _MOST_SPECIAL:
        raise gives(f"{tuple(raw.shape[1:])}, which is no grid")
    if pool == "none":
        return count, dim
    if math.isqrt(count) ** 2 != count or int(pool) ** 2 > count:
        raise MilmerError(
            f"{pool} x {pool} parts of {count} patches",
            where="backbone.pool",
            remedy="lower it, or set it to none",
        )
    return int(pool) ** 2, dim

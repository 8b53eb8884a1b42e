"""Stage ``tokens``: a frozen vision encoder encodes each face crop, once for all experiments."""

import logging
from pathlib import Path

import numpy as np
import torch

from milmer import storage
from milmer.backbone.loading import load_backbone
from milmer.backbone.options import TokensOptions
from milmer.contracts.faces import FACES
from milmer.contracts.tokens import TOKENS
from milmer.errors import MilmerError
from milmer.faces.bags import decode_crops, valid_instances
from milmer.runtime.device import choose_device, describe
from milmer.runtime.progress import track

_log = logging.getLogger(__name__)


def make_tokens(
    faces: Path, options: TokensOptions, out: Path, backbone_name: str | None = None
) -> None:
    """Write the tokens of one subject's crops: the backbone's, see :mod:`milmer.backbone.encoder`.

    ``tokens`` is float16 (frame, token, dim), contiguous, so that it can be mapped from the file.
    ``valid`` (segment, instance) says that there is a frame, and that a face was detected in it or
    borrowed boxes are allowed (``faces.use_borrowed_boxes``). ``backbone_name`` names the backbone
    if the options do not. Raises :class:`MilmerError` if the backbone cannot be loaded, if the
    device is missing, or if the tokens do not fit on the disk.
    """
    torch.set_num_threads(options.backbone.threads)
    device = choose_device(options.backbone.device)
    named = {"name": backbone_name} if backbone_name else {}
    backbone = load_backbone(options.backbone.updated(named), device)
    with storage.open_h5(faces, FACES) as source:
        images, bag, detected = source["image"], source["bag"][()], source["detected"][()]
        shape = (len(images), backbone.tokens, backbone.dim)
        needed = 2 * int(np.prod(shape))
        if needed > storage.free_bytes(out):
            raise MilmerError(
                f"no space left on the disk: tokens take {needed / 1e9:.1f} GB",
                where=out,
                remedy="free that much",
            )
        valid = valid_instances(bag, detected, options.use_borrowed_boxes)
        provenance = storage.provenance(
            "tokens",
            __name__,
            options.result(),
            {"faces": faces, "backbone": backbone.fingerprint},
            device=f"{describe(device)} {str(backbone.dtype).removeprefix('torch.')}",
        )
        with storage.new_h5(out, TOKENS, provenance) as file:
            tokens = file.create_dataset("tokens", shape, "float16")
            size = options.backbone.batch_size
            for first in track(range(0, len(images), size), out.stem):
                batch = backbone(torch.from_numpy(decode_crops(images[first : first + size])))
                batch = batch.to(torch.float16)
                if not batch.isfinite().all():
                    raise MilmerError(
                        "gives numbers beyond those of float16",
                        where="backbone.name",
                        remedy="take another encoder",
                    )
                tokens[first : first + size] = batch.cpu().numpy()
            file["bag"], file["valid"] = bag, valid
            for name in ("trial", "position"):
                file[name] = source[name][()]
            file.attrs["backbone"] = backbone.fingerprint
    faceless = int((~valid.any(axis=1)).sum())
    _log.info("%d of %d segments have no valid face", faceless, len(valid))

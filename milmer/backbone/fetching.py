"""Downloads backbones from the Hugging Face hub, for jobs on machines without a network."""

from collections.abc import Iterable
from pathlib import Path

from milmer.backbone.model_folder import loading_errors
from milmer.backbone.options import SwinOptions

_FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")


def fetch_backbones(backbones: Iterable[SwinOptions]) -> list[tuple[str, str]]:
    """Download what the hub holds of each backbone into the Hugging Face cache, weights included.

    Gives the names with their commits; a backbone that is a directory is left out. Raises
    :class:`~milmer.errors.MilmerError` where one cannot be had.
    """
    from huggingface_hub import snapshot_download

    fetched: dict[tuple[str, str | None], str] = {}
    for options in backbones:
        wanted = options.name, options.revision
        if Path(options.name).is_dir() or wanted in fetched:
            continue
        remedy = "check the name, the revision and the network"
        with loading_errors(f"{options.name} cannot be downloaded", "backbone.name", remedy):
            folder = snapshot_download(
                options.name, revision=options.revision, allow_patterns=list(_FILES)
            )
        fetched[wanted] = Path(folder).name
    return [(name, commit) for (name, _), commit in fetched.items()]

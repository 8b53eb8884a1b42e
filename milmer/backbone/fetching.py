"""Downloads backbones from the Hugging Face hub, for jobs on machines without a network."""

from collections.abc import Iterable
from pathlib import Path

from milmer.backbone.model_folder import loading_errors
from milmer.backbone.options import EncoderOptions
from milmer.errors import MilmerError

_SECONDS = 5.0  # for the hub to answer
_FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")


def fetch_backbones(backbones: Iterable[EncoderOptions]) -> list[tuple[str, str]]:
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


def require_at_hand(options: EncoderOptions) -> None:
    """Refuse a backbone that is no directory, not in the Hugging Face cache and not to be had now.

    Nothing is downloaded.
    """
    from huggingface_hub import model_info, try_to_load_from_cache

    name = options.name
    if options.require_folder():
        return
    if isinstance(try_to_load_from_cache(name, "config.json", revision=options.revision), str):
        return
    try:
        model_info(name, revision=options.revision, timeout=_SECONDS)
    except Exception as error:  # of the network, the hub, or the name
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MilmerError(
            f"{name} is neither a directory nor in the Hugging Face cache, and the hub does not "
            f"give it ({reason[:200]})",
            where="backbone.name",
            remedy="check the name; without a network, milmer fetch elsewhere and copy the cache",
        ) from error

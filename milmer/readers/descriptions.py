"""What a JSON file beside a recording says of it, where the recording cannot say it itself."""

from pathlib import Path

from pydantic import Field, ValidationError

from milmer.limits import read_json
from milmer.options import Options, options_error


class Description(Options):
    """The JSON file beside an array or an LSL recording: ``a.json`` of ``a.npy``."""

    channels: list[str] | None = Field(None, min_length=1)
    sfreq: float | None = Field(None, gt=0)
    unit: str | None = None
    variable: str | None = None  # of a .mat that holds several
    stream: str | None = None  # name or type, of an .xdf that holds several of EEG


def read_description(path: Path) -> Description | None:
    """What stands beside the recording ``path``; None where nothing does.

    Raises :class:`MilmerError` for what is not JSON or has other keys.
    """
    file = path.with_suffix(".json")
    if not file.is_file():
        return None
    try:
        return Description.model_validate(read_json(file, "write it again"))
    except ValidationError as error:
        raise options_error(Description, error, str(file)) from error

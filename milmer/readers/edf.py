"""Whether a file in the European Data Format, or BioSemi's BDF, is as long as its header says."""

from pathlib import Path

from milmer.errors import MilmerError

BIOSEMI = b"\xffBIOSEMI"
_EDF = b"0       "
_SAMPLE = {BIOSEMI: 3, _EDF: 2}  # bytes


def is_edf(head: bytes) -> bool:
    """Whether a file that begins so is EDF or BDF."""
    return head[:8] in _SAMPLE


def require_whole(path: Path) -> None:
    """Refuse an EDF or BDF that is shorter than its header says, as a decoder would not tell.

    A recording that was never closed says -1 records and counts as whole.
    """
    try:
        held = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(256)
            signals = int(head[252:256])
            file.seek(256 + 216 * signals)
            samples = [int(file.read(8)) for _ in range(signals)]
        records = max(int(head[236:244]), 0)
        said = int(head[184:192]) + records * sum(samples) * _SAMPLE[head[:8]]
    except FileNotFoundError as error:
        raise MilmerError(f"{path}: no such file") from error
    except (OSError, ValueError, KeyError) as error:
        raise damaged(path, error) from error
    if signals < 1 or min(samples) < 1 or said > held:
        raise MilmerError(f"{path}: cut off or damaged ({held} of {said} bytes); copy it again")


def damaged(path: Path, error: Exception) -> MilmerError:
    """The error of a file that a reader could not make sense of."""
    reason = (str(error) or type(error).__name__).splitlines()[0][:80]
    return MilmerError(f"{path}: cannot be read, damaged ({reason}); copy it again")

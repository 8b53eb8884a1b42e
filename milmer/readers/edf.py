"""Checks that a file in the European Data Format, or BioSemi's BDF, is complete."""

from pathlib import Path

from milmer.errors import MilmerError

RATES = 10.0, 1_000_000.0
"""Sampling rates of EEG in Hz that a header may claim."""

BIOSEMI = b"\xffBIOSEMI"
_EDF = b"0       "
_SAMPLE = {BIOSEMI: 3, _EDF: 2}  # bytes


def is_edf(head: bytes) -> bool:
    """Whether a file that starts with the bytes ``head`` is EDF or BDF."""
    return head[:8] in _SAMPLE


def require_whole(path: Path) -> None:
    """Refuse an EDF or BDF file that is shorter than its header says; readers would not notice.

    A recording that was never closed has -1 records in its header and counts as complete. Raises
    :class:`MilmerError` where the file is missing, damaged or cut off, or where records last no
    time in which EEG is sampled.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(256)
            signals = int(head[252:256])
            file.seek(256 + 216 * signals)
            samples = [int(file.read(8)) for _ in range(signals)]
        begin, records, duration = int(head[184:192]), int(head[236:244]), float(head[244:252])
        width = _SAMPLE[head[:8]]
    except FileNotFoundError as error:
        raise MilmerError("no such file", where=path) from error
    except (OSError, ValueError, KeyError) as error:
        raise damaged(path, error) from error
    expected = begin + max(records, 0) * sum(samples) * width
    whole = signals >= 1 and min(samples) >= 1 and records >= -1 and begin >= 256 * (signals + 1)
    if not whole or expected > size:
        raise MilmerError(
            f"cut off or damaged ({size} of {expected} bytes)", where=path, remedy="copy it again"
        )
    if not (duration > 0 and RATES[0] <= max(samples) / duration <= RATES[1]):
        raise MilmerError(
            f"its header's field 'duration of a data record' is {duration:g} s, for up to "
            f"{max(samples)} samples of a signal",
            where=path,
            remedy=f"EEG has {RATES[0]:g} to {RATES[1]:,.0f} samples/s",
        )


def damaged(path: Path, error: Exception) -> MilmerError:
    """The error for a file that a reader fails on with ``error``."""
    reason = (str(error) or type(error).__name__).splitlines()[0][:80]
    return MilmerError(
        f"is damaged and cannot be read ({reason})", where=path, remedy="copy it again"
    )

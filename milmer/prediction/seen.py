"""Whether a model has seen what it predicts, by the digests of content that it carries."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

DIGITS = 16
"""So many first digits of a digest stand for the content of a recording."""

PARTS = ("train", "val", "test")


class Content(NamedTuple):
    """A recording or video that is predicted: 0 s of the prediction's time is ``offset`` s in it.

    ``stimulus`` says which trial it is, in a file whose times begin anew with each trial.
    """

    digest: str
    offset: float
    stimulus: int | None = None


class Seen(NamedTuple):
    """A stretch of a recording or video, in s, and the part that it was in; see ``Content``."""

    digest: str
    stimulus: int | None
    part: str
    start: float
    stop: float


def part_of(
    seen: Sequence[Sequence[Seen]], contents: Sequence[Content], start: float, stop: float
) -> str | None:
    """The part that ``start`` to ``stop`` s was in, training before others; None if in none."""
    parts = {
        entry.part
        for content in contents
        for entry in _of(seen, content)
        if entry.stimulus == content.stimulus
        and entry.start + 1e-3 < stop + content.offset
        and start + content.offset < entry.stop - 1e-3
    }
    return next((part for part in PARTS if part in parts), None)


def sentence(
    seen: Sequence[Sequence[Seen]],
    contents: Sequence[Content],
    parts: pd.Series,
    earlier: Sequence[str] = (),
) -> str:
    """What a reader has to know first.

    ``parts`` are those of the segments, ``earlier`` first digits of the digests of recordings that
    trained the model, also before it was what its last training began with.
    """
    if not seen:
        return "Whether the model was trained on this recording or its subject is not known."
    trained, validated = ((parts == part).sum() for part in ("train", "val"))
    if trained or validated:
        return (
            f"Of {len(parts)} segments {trained} trained the model and {validated} validated it: "
            "what it says of them is no evidence of what it says of new recordings."
        )
    digests = {content.digest[:DIGITS] for content in contents}
    subjects = [
        {entry.part for entry in entries}
        for entries in seen
        if any(entry.digest in digests for entry in entries)
    ]
    if any("train" in parts for parts in subjects):
        return (
            "None of these segments trained the model, but others of the same subject did: it "
            "knows this person."
        )
    if any(content.digest.startswith(first) for content in contents for first in earlier):
        return "The model was trained on this recording before its last training began."
    if subjects:
        return "The model was tested on this recording, and trained on other subjects."
    return (
        "By its content, nothing of this recording was in the model's training; whether other "
        "recordings of the person were cannot be told."
    )


def _of(seen: Sequence[Sequence[Seen]], content: Content) -> list[Seen]:
    digest = content.digest[:DIGITS]
    return [entry for entries in seen for entry in entries if entry.digest == digest]

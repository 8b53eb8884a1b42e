"""The content of the raw files that jobs read: a file that moves or is touched reruns nothing."""

import functools
import json
import os
from collections.abc import Iterable
from pathlib import Path

from milmer import planned
from milmer.plan.snakemake_state import own_file, write_whole
from milmer.runtime.progress import track

_TOLD_BYTES = 1 << 28  # of new files, from which on a bar is shown


def content(files: Iterable[str]) -> str:
    """Digests of raw files in their order, without their names, for a rule's params.

    A digest is taken once, and remembered in the working directory for as long as the file's path,
    size and time stay. A file that cannot be read is told by the job that reads it.
    """
    return _content(os.getcwd(), tuple(files))


@functools.cache
def _content(directory: str, files: tuple[str, ...]) -> str:
    memory = _memory(directory)
    places = [os.path.abspath(file) for file in files]
    states = {place: planned.state(place) for place in places}
    new = [place for place in states if memory.get(place, [])[:2] != states[place]]
    large = sum(states[place][0] for place in new) > _TOLD_BYTES
    for place in track(new, "reads the dataset's files") if large else new:
        try:
            memory[place] = [*states[place], planned.sha256(place)]
        except OSError:
            memory[place] = [*states[place], "unreadable"]
    if new:
        write_whole(own_file(Path(directory), planned.DIGESTS), json.dumps(memory))
    return " ".join(memory[place][2][:16] for place in places)


@functools.cache
def _memory(directory: str) -> dict[str, list]:
    return planned.remembered(own_file(Path(directory), planned.DIGESTS))

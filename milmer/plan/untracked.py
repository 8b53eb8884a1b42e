"""Params of rules that trigger nothing."""

import shlex


class Untracked:
    """A rule's param that says how and not what: Snakemake reruns nothing where it changes.

    Snakemake compares params of Python's own types only. In a shell command it stands quoted.
    """

    def __init__(self, *words: object):
        self._text = " ".join(shlex.quote(str(word)) for word in words)

    def __str__(self) -> str:
        return self._text

"""The one exception that is meant for people.

Whatever is wrong with data, configuration or the machine is raised as :class:`MilmerError` with
one line that says what is wrong, where, and what to do. The command line and the Snakefile print
that line alone; any other exception is a bug and keeps its traceback.
"""


class MilmerError(Exception):
    """Something that the user can put right; its text is one line."""

    def __init__(self, text: str):
        super().__init__(" ".join(text.splitlines()))


class Stopped(MilmerError):
    """The stage was asked to stop and saved its state: the same command goes on from there."""

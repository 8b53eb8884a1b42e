"""Errors that the user can put right.

Whatever is wrong with data, the configuration or the machine is raised as :class:`MilmerError`:
what is wrong, where, and what to do, each in a field of its own. The command line and the Snakefile
print them as one line; any other exception is a bug and keeps its traceback.
"""

from typing import Self

from milmer.plain_text import escaped


class MilmerError(Exception):
    """Something that the user can put right.

    ``problem`` says what is wrong, ``where`` names the file, option or row, ``remedy`` says what to
    do. As text they are one line: ``where: problem; remedy``. Code that has to tell errors apart
    looks at their class, never at their text.
    """

    def __init__(self, problem: str, *, where: object = "", remedy: str = ""):
        self.problem, self.where, self.remedy = _one_line(problem), _one_line(where), remedy
        super().__init__(self.problem)

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{text}; {_one_line(self.remedy)}" if self.remedy else text

    def within(self, where: object) -> Self:
        """The same error, said to be in ``where``, such as the file that is read."""
        self.where = f"{where}: {self.where}" if self.where else _one_line(where)
        return self

    def instead(self, remedy: str) -> Self:
        """The same error with another remedy, for those who cannot follow the first."""
        self.remedy = remedy
        return self


class Stopped(MilmerError):
    """The stage was asked to stop and saved its state: the same command goes on from there."""


def _one_line(text: object) -> str:
    return escaped(" ".join(str(text).splitlines()))

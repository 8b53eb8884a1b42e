"""What there is to do: the configuration and a dataset's files as targets, inputs and options.

The Snakefile asks this and holds no logic itself. It is made anew whenever the Snakefile is parsed,
also by each cluster job, so that it lists folders and reads nothing.
"""

from milmer.plan.plan import Plan
from milmer.plan.untracked import Untracked

__all__ = ["Plan", "Untracked"]

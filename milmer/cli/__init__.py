"""The command line: parses arguments, calls one function, and prints errors as one line.

``milmer STAGE --options JSON …`` is what the rules run; each command can be pasted from a log.
"""

from milmer.cli import predicting, stages, tools
from milmer.cli.app import app, main

__all__ = ["app", "main", "predicting", "stages", "tools"]

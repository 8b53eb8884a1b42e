"""The command line: parses, calls one function, and turns an error for people into one line.

``milmer STAGE --options JSON …`` is what the rules run; each line can be pasted from a log.
"""

from milmer.cli import predicting, stages, tools
from milmer.cli.app import app, main

__all__ = ["app", "main", "predicting", "stages", "tools"]

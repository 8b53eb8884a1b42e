"""The command line: parses arguments, calls one function, and prints errors as one line.

``milmer STAGE --options JSON …`` is what the rules run; each command can be pasted from a log.
"""

# In the order of the first screen.
from milmer.cli import running, tools, predicting, stages  # noqa: I001
from milmer.cli.app import app, main

__all__ = ["app", "main", "predicting", "running", "stages", "tools"]

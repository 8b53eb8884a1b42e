"""``python -m milmer``: the same as the console script."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, whose yaml.py is not the library of that name
    from milmer.cli import main

    main()

"""``python -m milmer``: the same as the console script."""

from milmer.cli import main

if __name__ == "__main__":
    main()

"""``python -m srpu``: the same as ``srpu``."""

from srpu.cli import main

if __name__ == "__main__":
    main()

"""Rounds of active learning: the same as `srpu active run`."""

from srpu.cli import main

if __name__ == "__main__":
    main("active", "run")

"""Evaluation: the same as `srpu evaluate`."""

from srpu.cli import main

if __name__ == "__main__":
    main("evaluate")

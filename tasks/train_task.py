"""Supervised training: the same as `srpu train`."""

from srpu.cli import main

if __name__ == "__main__":
    main("train")

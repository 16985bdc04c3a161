"""Predicted masks to correct: the same as `srpu active masks`."""

from srpu.cli import main

if __name__ == "__main__":
    main("active", "masks")

"""Class shares, mean and deviation of the data sets: the same as `srpu stats`."""

from srpu.cli import main

if __name__ == "__main__":
    main("stats")

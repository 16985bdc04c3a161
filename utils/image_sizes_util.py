"""Image sizes: part of what `srpu stats` tells."""

from srpu.cli import main

if __name__ == "__main__":
    main("stats")

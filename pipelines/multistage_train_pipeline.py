"""Training in stages: the same as `srpu train-stages`."""

from srpu.cli import main

if __name__ == "__main__":
    main("train-stages")

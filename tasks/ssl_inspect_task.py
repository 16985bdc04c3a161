"""What pretraining has learned: the same as `srpu inspect`."""

from srpu.cli import main

if __name__ == "__main__":
    main("inspect")

"""Prediction: the same as `srpu predict`."""

from srpu.cli import main

if __name__ == "__main__":
    main("predict")

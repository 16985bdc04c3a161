"""Pretraining on images without masks: the same as `srpu pretrain`."""

from srpu.cli import main

if __name__ == "__main__":
    main("pretrain")

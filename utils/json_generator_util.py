"""Indices (``--mode generate_all``): the same as `srpu index`."""

from srpu.cli import main

if __name__ == "__main__":
    main("index")

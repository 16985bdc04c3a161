"""SRPU: self-evolving segmentation of scanning electron micrographs."""

__version__ = "0.1.0"

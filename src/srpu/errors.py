"""The error tree. Every error is one sentence: what happened, where, and what to do.

SrpuError                 anything the user can mend; the command line prints it and exits with 2
├── SettingsError         a config file or --set: unknown name, wrong value
├── WorkspaceError        the disk: not writable, full, locked by another run, no workspace here
├── DataError             what the user put in
│   ├── ImageError        an image that cannot be read
│   ├── MaskError         a mask whose colours, ids or size do not fit
│   ├── PairingError      an image with two masks, a mask with two images or none
│   ├── IndexingError     an index that is missing, empty, out of date or unreadable
│   └── LeakError         a test image that reached training
├── StoreError            the store of labels and rounds: damaged, or from a newer SRPU
│   └── StoreBusyError    … in use
├── ModelError            an encoder, decoder or combination that does not exist
├── TrainingError         training that cannot go on: the loss is no number any more
└── CheckpointError       weights that cannot be read, are unsafe or belong to another model
"""


class SrpuError(Exception):
    """Anything the user can mend."""


class SettingsError(SrpuError):
    """A config file or ``--set`` holds an unknown name or a wrong value."""


class WorkspaceError(SrpuError):
    """The disk: not writable, full, locked by another run, or no workspace here."""


class DataError(SrpuError):
    """Something is wrong with what the user put in."""


class ImageError(DataError):
    """An image cannot be read."""


class MaskError(DataError):
    """A mask's colours, ids or size do not fit."""


class PairingError(DataError):
    """An image has two masks, or a mask has two images or none."""


class IndexingError(DataError):
    """An index is missing, empty, out of date or unreadable."""


class LeakError(DataError):
    """A test image reached training."""


class StoreError(SrpuError):
    """The store of labels and rounds is damaged, or from a newer SRPU."""


class StoreBusyError(StoreError):
    """Somebody else is at work on the store."""


class ModelError(SrpuError):
    """An encoder, a decoder or a combination of them does not exist."""


class TrainingError(SrpuError):
    """Training cannot go on: the loss is no number any more."""


class CheckpointError(SrpuError):
    """Weights cannot be read, are unsafe, or belong to another model."""

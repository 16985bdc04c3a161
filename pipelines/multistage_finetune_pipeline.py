"""Fine-tuning in stages: the same as `srpu finetune-stages`."""

from srpu.cli import main

if __name__ == "__main__":
    main("finetune-stages")

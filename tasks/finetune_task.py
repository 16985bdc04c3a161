"""Fine-tuning: the same as `srpu finetune`."""

from srpu.cli import main

if __name__ == "__main__":
    main("finetune")

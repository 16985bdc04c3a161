"""What to label next: uncertainty and diversity, rounds that survive a crash, masks out and in, labels kept."""

"""What is on disk: images, masks, indices, splits, crops."""

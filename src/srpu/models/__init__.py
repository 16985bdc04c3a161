"""What maps pixels to features, and features to classes."""

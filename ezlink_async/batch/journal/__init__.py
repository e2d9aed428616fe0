"""What earlier runs of a batch did, on disk."""

"""What ops keep for backward, and what a training step keeps."""

"""Texts and their preparation for training: corpora and batches of tokens."""

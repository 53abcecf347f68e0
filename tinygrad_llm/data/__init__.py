"""Texts and what becomes of them before training: corpora and batches of tokens."""

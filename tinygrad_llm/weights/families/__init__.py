"""Whose weights have which names: one file a model family."""

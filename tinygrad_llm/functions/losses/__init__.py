"""Losses: of classes, of numbers, of pairs, and what they share."""

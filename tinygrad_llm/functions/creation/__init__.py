"""New tensors: from data, filled with one number, ranges of numbers, grids."""

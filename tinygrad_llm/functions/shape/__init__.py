"""The same elements in another shape or order; tensors joined, split and repeated."""

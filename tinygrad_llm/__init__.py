"""tinygrad_llm: an autograd engine in NumPy, with PyTorch's names."""

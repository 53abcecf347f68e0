"""The same code under PyTorch and under tinygrad_llm."""

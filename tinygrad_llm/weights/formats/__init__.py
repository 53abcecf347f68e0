"""File formats of weights: safetensors, and PyTorch's .pth, read without pickle."""

"""File formats: safetensors, PyTorch's .pth read without pickle, and nested state as JSON."""

"""Files of weights: safetensors, read lazily and written whole or not at all.

formats/   the file formats: safetensors, PyTorch's .pth read without pickle, nested state
families/  for each family of models, which published weight has which name here
"""

from .formats import safetensors
from .formats.safetensors import (
    SafeTensorsError,
    SafeTensorsFile,
    load,
    load_file,
    load_model,
    save,
    save_file,
    save_model,
)
from .formats.tree import pack, unpack

__all__ = [
    "SafeTensorsError",
    "SafeTensorsFile",
    "load",
    "load_file",
    "load_model",
    "pack",
    "safetensors",
    "save",
    "save_file",
    "save_model",
    "unpack",
]

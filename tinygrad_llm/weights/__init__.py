"""Files of weights: safetensors now, read lazily and written whole or not at all."""

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
    "save",
    "save_file",
    "save_model",
    "unpack",
]

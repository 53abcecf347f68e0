"""Files of weights: safetensors now, read lazily and written whole or not at all."""

from .atomic import atomic_write, sync_folder
from .safetensors import (
    SafeTensorsError,
    SafeTensorsFile,
    load,
    load_file,
    load_model,
    save,
    save_file,
    save_model,
)
from .tree import pack, unpack

__all__ = [
    "SafeTensorsError",
    "SafeTensorsFile",
    "atomic_write",
    "load",
    "load_file",
    "load_model",
    "pack",
    "save",
    "save_file",
    "save_model",
    "sync_folder",
    "unpack",
]

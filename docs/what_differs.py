"""An extension of Griffe, which reads docstrings for the site: what differs from PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).resolve().parent))

from differences import entries, line_of  # noqa: E402

__all__ = ["WhatDiffers"]


class WhatDiffers(griffe.Extension):
    """Below the docstring of each name that a list of differences has: the items that name it."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = entries()

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Add to the docstring of a class or a function as soon as it is read."""
        items = self.entries.get(obj.path)
        if items is None:
            return
        text = line_of(items)
        if obj.docstring is None:
            obj.docstring = griffe.Docstring(text, parent=obj)
        else:
            obj.docstring.value = f"{obj.docstring.value}\n\n{text}"

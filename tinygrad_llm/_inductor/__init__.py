"""PyTorch's code generator, as far as programs set its options: nothing is compiled here."""

from . import config

__all__ = ["config"]

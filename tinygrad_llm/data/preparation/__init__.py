"""From a folder of texts to shards of tokens: read, clean, leave out what repeats, tokenize."""

from .minhash import NearDuplicate, found_with, jaccard, near_duplicates
from .run import Preparation
from .settings import Settings
from .work import PreparationError

__all__ = [
    "NearDuplicate",
    "Preparation",
    "PreparationError",
    "Settings",
    "found_with",
    "jaccard",
    "near_duplicates",
]

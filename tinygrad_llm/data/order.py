"""A random order of very many things, of which each place is computed when it is asked for."""

from __future__ import annotations

import hashlib

__all__ = ["Permutation"]

_ROUNDS = 6
_MASK = (1 << 64) - 1


class Permutation:
    """The numbers 0 … n − 1 in an order that depends on the seeds alone; needs no memory.

    A Feistel network: the halves of a number's bits change alternately, each by a hash of the
    other, so that every step can be undone and no two numbers end alike. Results of n or more go
    through it again. Source: Black and Rogaway (2002), "Ciphers with arbitrary finite domains".
    """

    def __init__(self, n: int, *seeds: int) -> None:
        self.n = n
        self.half = max(1, (max(n - 1, 1).bit_length() + 1) // 2)
        digest = hashlib.blake2b(repr((n, seeds)).encode(), digest_size=8 * _ROUNDS).digest()
        self.keys = [int.from_bytes(digest[i : i + 8], "little")
                     for i in range(0, 8 * _ROUNDS, 8)]  # fmt: skip

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, place: int) -> int:
        """The number at a place.

        Raises: IndexError outside of 0 … n − 1.
        """
        if not 0 <= place < self.n:
            raise IndexError(f"place {place} of {self.n}")
        mask = (1 << self.half) - 1
        while True:
            left, right = place >> self.half, place & mask
            for key in self.keys:
                mixed = (right + key) * 0xBF58476D1CE4E5B9 & _MASK
                mixed = (mixed ^ mixed >> 31) * 0x94D049BB133111EB & _MASK
                left, right = right, left ^ (mixed >> 33 & mask)
            place = left << self.half | right
            if place < self.n:
                return place

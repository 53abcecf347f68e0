"""Named mistakes of positions, as those in whole_layers.py."""

from __future__ import annotations

from typing import Any

from .layer_mistake import wrong_layer

wrong_layer(
    "SinusoidalPositions",
    ("sine and cosine exchanged", "A pair begins with its cosine: even channels are sines.",
     {"pair": lambda self, c: (c // 2, c % 2 == 1)}),
    ("a frequency for each channel", "ωⱼ has the channel in its exponent: the two channels of a "
     "pair have one frequency, base^(−2j/C) for pair j.",
     {"pair": lambda self, c: (c, c % 2 == 0)}),
    ("sines first, then cosines", "The first half of the channels are sines and the second half "
     "cosines: here a sine and its cosine are neighbours.",
     {"pair": lambda self, c: (c % ((self.layer.dim + 1) // 2), c < (self.layer.dim + 1) // 2)}),
    ("2 forgotten in the exponent", "ωⱼ is base^(−j/C): the exponent is −2j/C, because C channels "
     "make C/2 pairs.", {"omega": lambda self, j: self.layer.base ** (-float(j) / self.layer.dim)}),
)  # fmt: skip


def _in_order(self: Any, h: int) -> float:
    return 2.0 ** (-8.0 * (h + 1) / self.layer.n_heads)


wrong_layer(
    "Alibi",
    ("near keys are punished", "The bias grows with the distance: it is −m·|i − j|, so that far "
     "keys count less.", {"number": lambda self, h, i, j: self.rate(h) * self.distance(i, j)}),
    ("one rate for all heads", "All heads have the rate of the first: each has its own, so that "
     "some look near and some far.", {"rate": lambda self, h: 2.0**-8.0}),
    ("rates from zero", "The first head's rate is 1: the exponent begins with −8/H, not with 0.",
     {"rate": lambda self, h: 2.0 ** (-8.0 * h / self.layer.n_heads)}),
    ("rates of no power of two", "The rates are 2^(−8h/H) for every H: where H is not a power of "
     "two they are those of the power below, then every second one of the power above.",
     {"rate": _in_order}),
)  # fmt: skip


def _other_direction(self: Any, i: int, j: int) -> tuple[int, int, int]:
    n = self.layer.n_buckets
    if not self.layer.bidirectional:
        return 0, n, max(j - i, 0)
    return (n // 2 if j < i else 0), n // 2, abs(i - j)


def _both_alike(self: Any, i: int, j: int) -> tuple[int, int, int]:
    n = self.layer.n_buckets
    return 0, n // 2 if self.layer.bidirectional else n, abs(i - j)


wrong_layer(
    "RelativeBias",
    ("direction exchanged", "Earlier and later keys change places: buckets count i − j, from the "
     "query back to the key.", {"direction": _other_direction}),
    ("later keys like earlier ones", "A key after the query gets the bucket of one that stands as "
     "far before it: half of the buckets are for later keys, or all of these share bucket 0.",
     {"direction": _both_alike}),
    ("far keys in even steps", "Buckets of far keys are as wide as each other: their width grows "
     "with the logarithm of the distance.",
     {"grown": lambda self, far, exact, n: exact + (far - exact) * (n - exact)
      // (self.layer.max_distance - exact)}),
    ("all far keys in one bucket", "Every distance that has no bucket for itself alone falls into "
     "the last one.", {"grown": lambda self, far, exact, n: n - 1}),
)  # fmt: skip

"""The checks of exercises about positions: vectors of sines, and biases of scores."""

from __future__ import annotations

from .evidence import seen
from .layer_checks import _torch, named
from .task_checks import Wrong, check, same


@check("sinusoidal_positions", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.positions import SinusoidalPositions

    positions = torch.tensor([0, 1, 2, 7, 300])
    for dim, base in ((6, 10000.0), (2, 50.0)):
        layer = SinusoidalPositions(dim, base)
        got = m.sinusoidal(positions, dim, base)
        same(got, layer(positions), f"{dim} channels", named(layer, got, positions))


@check("position_bias", "ALiBi")
def _(m):
    torch = _torch()
    from ...layers.positions import Alibi

    for heads, n in ((4, 5), (8, 3), (1, 4)):
        layer, places = Alibi(heads), torch.arange(n)
        got = m.alibi(heads, n)
        same(got, layer(places, places), f"{heads} heads", named(layer, got, places, places))


@check("position_bias", "T5's buckets")
def _(m):
    torch = _torch()
    from ...layers.positions import RelativeBias

    for n, most in ((32, 128), (8, 20)):
        layer = RelativeBias(1, n_buckets=n, max_distance=most)
        keys = torch.tensor(
            [400 - d for d in (-3, 0, 1, 3, 4, 7, 9, 15, 16, 17, 64, 127, 128, 400)]
        )
        expected = layer.buckets(torch.tensor([400]), keys)[0].tolist()
        got = [seen(m.bucket(400 - int(j), n, most)) for j in keys.tolist()]
        for j, a, b in zip(keys.tolist(), got, expected, strict=True):
            if a != b:
                raise Wrong(f"distance {400 - j}, {n} buckets up to {most}: expected bucket {b}, "
                            f"got {a}: {_about_bucket(400 - j, n)}")  # fmt: skip


def _about_bucket(distance: int, n: int) -> str:
    """What the bucket of a distance is, in words."""
    if distance < 0:
        return "keys behind the query share bucket 0"
    if distance < n // 2:
        return "near keys have a bucket each"
    return "far buckets grow with the logarithm, and the last one takes the rest"

"""Random numbers: the Mersenne twister, normal numbers and coins, equal to PyTorch's to the bit.

`arrays.twins` hands these to random/, which defines them in NumPy. Nothing may be contracted or
reordered here, so the kernels are `exact_kernel`s, and multiply-adds are written as `fused`.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .compiling import exact_kernel, fused, shared

__all__ = ["coins", "draws", "normals", "uniforms"]

f: Any = np.float32
whole: Any = np.int32
word = np.uint32
SIZE, AHEAD = 624, 397  # words of the twister's state; the distance of the two that are combined


@exact_kernel
def twist(key, out, position, start, stop):
    """out = the next draws; key and position[0] are the state (Matsumoto and Nishimura, 1998).

    kᵢ ← kᵢ₊₃₉₇ ⊕ A(upper bit of kᵢ, lower bits of kᵢ₊₁) for all 624, then each is tempered.
    """
    done, at = 0, position[0]
    while done < out.size:
        if at == SIZE:
            low, high = key[: SIZE - AHEAD], key[AHEAD:]
            after = key[1 : SIZE - AHEAD + 1]
            for i in range(low.size):
                y = (low[i] & word(0x80000000)) | (after[i] & word(0x7FFFFFFF))
                mixed = word(word(0) - (y & word(1))) & word(0x9908B0DF)
                low[i] = high[i] ^ (y >> word(1)) ^ mixed
            for i in range(SIZE - AHEAD, SIZE - 1):
                y = (key[i] & word(0x80000000)) | (key[i + 1] & word(0x7FFFFFFF))
                mixed = word(word(0) - (y & word(1))) & word(0x9908B0DF)
                key[i] = key[i - (SIZE - AHEAD)] ^ (y >> word(1)) ^ mixed
            y = (key[SIZE - 1] & word(0x80000000)) | (key[0] & word(0x7FFFFFFF))
            mixed = word(word(0) - (y & word(1))) & word(0x9908B0DF)
            key[SIZE - 1] = key[AHEAD - 1] ^ (y >> word(1)) ^ mixed
            at = 0
        n = min(SIZE - at, out.size - done)
        from_key, to = key[at : at + n], out[done : done + n]
        for i in range(to.size):
            y = from_key[i]
            y ^= y >> word(11)
            y ^= (y << word(7)) & word(0x9D2C5680)
            y ^= (y << word(15)) & word(0xEFC60000)
            to[i] = y ^ (y >> word(18))
        at += n
        done += n
    position[0] = at


_P = [np.float32(p) for p in (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)]  # fmt: skip
P0, P1, P2, P3, P4, P5, P6, P7, P8 = _P
ANGLE = np.float32(2 * np.pi) / np.float32(1 << 24)
ROOT_HALF = 0x3F3504F3  # the bits of √½ in float32
LONG = 1024  # pairs at a time, copied apart: LLVM vectorises long loops
TO_X = ROOT_HALF + (24 << 23) - (1 << 31)


@exact_kernel
def normal_loop(out, draws, start, stop):
    """Of 16 draws 8 make r = √(−2·log(1 − u)), 8 make θ = 2π·v: 8 times r·cos θ, 8 times r·sin θ.

    The polynomials and the places of rounding are those of random/normal.py, which explains them.
    """
    all_us, all_vs = np.empty(LONG, np.uint32), np.empty(LONG, np.uint32)
    all_cosines, all_sines = np.empty(LONG, f), np.empty(LONG, f)
    for first in range(start, stop, LONG // 8):
        many = min(LONG // 8, stop - first)
        some, to = draws[first : first + many], out[first : first + many]
        us, vs = all_us[: 8 * many], all_vs[: 8 * many]
        cosines, sines = all_cosines[: 8 * many], all_sines[: 8 * many]
        for k in range(many):
            for i in range(8):
                us[8 * k + i] = some[k, i]
                vs[8 * k + i] = some[k, 8 + i]
        for i in range(us.size):
            x = f(whole(whole(us[i]) | whole(-(1 << 24))))  # −(1 − u)·2²⁴
            bits = whole(x.view(whole) - whole(TO_X))
            e = f(whole(bits >> whole(23)))
            bits = whole(whole(bits & whole((1 << 23) - 1)) + whole(ROOT_HALF))
            x = bits.view(f) - f(1.0)  # 1 − u = 2ᵉ·(1 + x)
            y = fused(f(P0), x, f(P1))
            y = fused(y, x, f(P2))
            y = fused(y, x, f(P3))
            y = fused(y, x, f(P4))
            y = fused(y, x, f(P5))
            y = fused(y, x, f(P6))
            y = fused(y, x, f(P7))
            y = fused(y, x, f(P8))
            z = x * x
            y = fused(y * x, z, e * f(-2.12194440e-4))
            y = y - z * f(0.5)
            x = (x + y) + e * f(0.693359375)
            r = np.sqrt(x * f(-2.0))

            v = whole(whole(vs[i]) & whole((1 << 24) - 1))
            x = f(v) * f(ANGLE)
            j = whole(whole(v + whole(1 << 21)) >> whole(22))  # θ = j·π/2 + x
            back = f(whole(-j))
            x = fused(back, f(1.5703125), x)
            x = fused(back, f(4.837512969970703125e-4), x)
            x = fused(back, f(7.54978995489188216e-8), x)
            z = x * x
            c = fused(f(2.443315711809948e-5), z, f(-1.388731625493765e-3))
            c = fused(c, z, f(4.166664568298827e-2)) * z
            c = fused(c, z, z * f(-0.5)) + f(1.0)
            s = fused(f(-1.9515295891e-4), z, f(8.3321608736e-3))
            s = fused(s, z, f(-1.6666654611e-1)) * z
            s = fused(s, x, x)
            odd = whole(j & whole(1)) != whole(0)
            r = -r if whole(j & whole(2)) != whole(0) else r
            cosines[i] = (-s if odd else c) * r
            sines[i] = (c if odd else s) * r
        for k in range(many):
            for i in range(8):
                to[k, i] = cosines[8 * k + i]
                to[k, 8 + i] = sines[8 * k + i]


@exact_kernel
def coin_loop(out, draws, below, start, stop):
    """out = whether the number of 53 bits that two draws make, the first above, is < below."""
    out, draws = out[start:stop], draws[start:stop]
    for i in range(out.size):
        high = np.int64(draws[i, 0] & word((1 << 21) - 1))
        out[i] = np.int64((high << np.int64(32)) | np.int64(draws[i, 1])) < below


@exact_kernel
def uniform_loop(out, draws, start, stop):
    """out = (draw mod 2²⁴)·2⁻²⁴."""
    out, draws = out[start:stop], draws[start:stop]
    for i in range(out.size):
        out[i] = f(whole(draws[i] & word((1 << 24) - 1))) * f(2.0**-24)


class _Layout:
    known: bool | None = None  # whether NumPy's state lies in memory as `draws` expects


def draws(stream: Any, out: Any) -> bool:
    """Fill out (uint32) with the next draws of a RandomState, which moves on; whether it did so.

    The state is 624 words and the position in them, at an address that NumPy has. Its layout is
    compared, once, with the state that NumPy returns as arrays.
    """
    address = stream._bit_generator.ctypes.state_address
    memory: Any = (ctypes.c_uint32 * (SIZE + 1)).from_address(address)
    words = np.frombuffer(memory, np.uint32)
    if _Layout.known is None:
        state = stream.get_state(legacy=False)["state"]
        _Layout.known = bool((words[:SIZE] == state["key"]).all() and words[SIZE] == state["pos"])
    if _Layout.known:
        twist(words[:SIZE], out, words[SIZE:].view(np.int32), 0, 1)
    return _Layout.known


def normals(words: Any, out: Any) -> None:
    """Fill out (float32) with normal numbers from as many draws, a multiple of 16."""
    groups = out.size // 16
    shared(normal_loop, groups, out.size * 8, out.reshape(groups, 16), words.reshape(groups, 16))


def uniforms(words: Any, out: Any) -> None:
    """Fill out (float32) with uniform numbers in [0, 1) from as many draws."""
    shared(uniform_loop, out.size, out.size, out, words)


def coins(words: Any, below: int, out: Any) -> None:
    """Fill out (bool): whether the number of 53 bits that two draws make is below `below`."""
    shared(coin_loop, out.size, out.size, out, words.reshape(-1, 2), below)

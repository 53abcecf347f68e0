"""y = x·Wᵀ for a W of 4 or 8 bits and few rows of x: bound by the bytes of the weights.

W (N, K) is stored in groups of 32 rows, and each group transposed: 32 bytes hold the same column of
32 rows, so that no product needs a sum across a vector. A row is cut into blocks of `block` columns
with a scale d, and perhaps an offset m: w = d·(q − middle) + m. So a block adds
d·(Σ q·x − middle·Σ x) + m·Σ x: d and m meet one number and not each weight.

Codes (G, K/block, block, 32) of 8 bits. With 4 bits (G, K/block, block/2, 32): byte j holds column
j in its low half and column j + block/2 in its high half. Scales and offsets (G, K/block, 32).
Shapes: R rows of x, K columns, G groups. Sources: GGUF's formats; QLoRA's NF4, whose 16 codes stand
for the numbers of a table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import helper
from .lanes import (
    added,
    halves,
    high_entry,
    high_half,
    lanes,
    low_entry,
    low_half,
    put,
    signed,
    singles,
    times,
    times_added,
)

__all__ = [
    "BFLOAT16", "BITS4", "BITS8", "FLOATS", "NF4", "block_sums", "packed_group", "widened_group",
]  # fmt: skip

f: Any = np.float64  # in a compiled copy the arrays' dtype
FLOATS, BITS4, BITS8, NF4, BFLOAT16 = range(5)  # how weights are stored
# Where a stage of `decoding` says so: the format, addresses of its arrays, columns of a block,
# whether scales and offsets are float32 (else float16), and the address of a table.
FORMAT, CODES, SCALES, OFFSETS, BLOCK, WIDE, TABLE = 12, 13, 14, 15, 16, 17, 18


@helper
def block_sums(x, R, block, sums):
    """sums[r·K/block + b] = Σ of block b of row r: x (R·K)."""
    for i in range(x.size // block):
        row, total = x[i * block : (i + 1) * block], f(0.0)
        for j in range(row.size):
            total += row[j]
        sums[i] = total


@helper
def scaled(total, part, total_x, middle, scales, offsets, wide, i):
    """total + d·(part − middle·Σx) + m·Σx, d and m those of a block of 32 rows."""
    d = singles(scales, i) if wide else halves(scales, i)
    if middle != f(0.0):
        part = added(part, lanes(-middle * total_x))
    total = times_added(d, part, total)
    if offsets != 0:
        m = singles(offsets, i) if wide else halves(offsets, i)
        total = times_added(total_x, m, total)
    return total


@helper
def bits4_one(x, sums, stage, middle, g, out):
    """out[i] = x·W for the 32 rows of group g, W of 4 bits: x (K), sums (K/block)."""
    codes, scales, offsets = stage[CODES], stage[SCALES], stage[OFFSETS]
    wide, block = stage[WIDE], stage[BLOCK]
    half, total = block // 2, lanes(f(0.0))
    for b in range(sums.size):
        low, high, at = lanes(f(0.0)), lanes(f(0.0)), b * block
        place = (g * sums.size + b) * half * 32
        first, second = x[at : at + half], x[at + half : at + block]
        for j in range(first.size):
            low = times_added(first[j], low_half(codes, place + 32 * j), low)
            high = times_added(second[j], high_half(codes, place + 32 * j), high)
        i = (g * sums.size + b) * 32
        total = scaled(total, added(low, high), sums[b], middle, scales, offsets, wide, i)
    put(out, 0, total)


@helper
def bits4_four(x, sums, stage, middle, g, out):
    """As bits4_one for four rows: x (4, K), sums (4, K/block), out (4·32)."""
    codes, scales, offsets = stage[CODES], stage[SCALES], stage[OFFSETS]
    wide, block = stage[WIDE], stage[BLOCK]
    half, nb, zero = block // 2, sums.shape[1], lanes(f(0.0))
    t0, t1, t2, t3 = zero, zero, zero, zero
    for b in range(nb):
        p0, p1, p2, p3, at = zero, zero, zero, zero, b * block
        place = (g * nb + b) * half * 32
        x0, x1, x2, x3 = x[0, at:], x[1, at:], x[2, at:], x[3, at:]
        for j in range(half):
            low, high = low_half(codes, place + 32 * j), high_half(codes, place + 32 * j)
            p0 = times_added(x0[half + j], high, times_added(x0[j], low, p0))
            p1 = times_added(x1[half + j], high, times_added(x1[j], low, p1))
            p2 = times_added(x2[half + j], high, times_added(x2[j], low, p2))
            p3 = times_added(x3[half + j], high, times_added(x3[j], low, p3))
        i = (g * nb + b) * 32
        t0 = scaled(t0, p0, sums[0, b], middle, scales, offsets, wide, i)
        t1 = scaled(t1, p1, sums[1, b], middle, scales, offsets, wide, i)
        t2 = scaled(t2, p2, sums[2, b], middle, scales, offsets, wide, i)
        t3 = scaled(t3, p3, sums[3, b], middle, scales, offsets, wide, i)
    put(out, 0, t0)
    put(out, 32, t1)
    put(out, 64, t2)
    put(out, 96, t3)


@helper
def bits4_eight(x, sums, stage, middle, g, out):
    """As bits4_one for eight rows: x (8, K), sums (8, K/block), out (8·32)."""
    codes, scales, offsets = stage[CODES], stage[SCALES], stage[OFFSETS]
    wide, block = stage[WIDE], stage[BLOCK]
    half, nb, zero = block // 2, sums.shape[1], lanes(f(0.0))
    t0, t1, t2, t3, t4, t5, t6, t7 = zero, zero, zero, zero, zero, zero, zero, zero
    for b in range(nb):
        p0, p1, p2, p3, p4, p5, p6, p7 = zero, zero, zero, zero, zero, zero, zero, zero
        at = b * block
        place = (g * nb + b) * half * 32
        x0, x1, x2, x3 = x[0, at:], x[1, at:], x[2, at:], x[3, at:]
        x4, x5, x6, x7 = x[4, at:], x[5, at:], x[6, at:], x[7, at:]
        for j in range(half):
            low, high = low_half(codes, place + 32 * j), high_half(codes, place + 32 * j)
            p0 = times_added(x0[half + j], high, times_added(x0[j], low, p0))
            p1 = times_added(x1[half + j], high, times_added(x1[j], low, p1))
            p2 = times_added(x2[half + j], high, times_added(x2[j], low, p2))
            p3 = times_added(x3[half + j], high, times_added(x3[j], low, p3))
            p4 = times_added(x4[half + j], high, times_added(x4[j], low, p4))
            p5 = times_added(x5[half + j], high, times_added(x5[j], low, p5))
            p6 = times_added(x6[half + j], high, times_added(x6[j], low, p6))
            p7 = times_added(x7[half + j], high, times_added(x7[j], low, p7))
        i = (g * nb + b) * 32
        t0 = scaled(t0, p0, sums[0, b], middle, scales, offsets, wide, i)
        t1 = scaled(t1, p1, sums[1, b], middle, scales, offsets, wide, i)
        t2 = scaled(t2, p2, sums[2, b], middle, scales, offsets, wide, i)
        t3 = scaled(t3, p3, sums[3, b], middle, scales, offsets, wide, i)
        t4 = scaled(t4, p4, sums[4, b], middle, scales, offsets, wide, i)
        t5 = scaled(t5, p5, sums[5, b], middle, scales, offsets, wide, i)
        t6 = scaled(t6, p6, sums[6, b], middle, scales, offsets, wide, i)
        t7 = scaled(t7, p7, sums[7, b], middle, scales, offsets, wide, i)
    put(out, 0, t0)
    put(out, 32, t1)
    put(out, 64, t2)
    put(out, 96, t3)
    put(out, 128, t4)
    put(out, 160, t5)
    put(out, 192, t6)
    put(out, 224, t7)


@helper
def bits8_one(x, sums, stage, middle, g, out):
    """As bits4_one for codes of 8 bits."""
    codes, scales, offsets = stage[CODES], stage[SCALES], stage[OFFSETS]
    wide, block = stage[WIDE], stage[BLOCK]
    total, pairs = lanes(f(0.0)), block // 2
    for b in range(sums.size):
        even, odd, at = lanes(f(0.0)), lanes(f(0.0)), b * block
        place = (g * sums.size + b) * block * 32
        row = x[at : at + block]
        for k in range(pairs):
            even = times_added(row[2 * k], signed(codes, place + 64 * k), even)
            odd = times_added(row[2 * k + 1], signed(codes, place + 64 * k + 32), odd)
        for j in range(2 * pairs, block):
            even = times_added(row[j], signed(codes, place + 32 * j), even)
        i = (g * sums.size + b) * 32
        total = scaled(total, added(even, odd), sums[b], middle, scales, offsets, wide, i)
    put(out, 0, total)


@helper
def bits8_four(x, sums, stage, middle, g, out):
    """As bits4_four for codes of 8 bits."""
    codes, scales, offsets = stage[CODES], stage[SCALES], stage[OFFSETS]
    wide, block = stage[WIDE], stage[BLOCK]
    nb, zero = sums.shape[1], lanes(f(0.0))
    t0, t1, t2, t3 = zero, zero, zero, zero
    for b in range(nb):
        p0, p1, p2, p3, at = zero, zero, zero, zero, b * block
        place = (g * nb + b) * block * 32
        x0, x1, x2, x3 = x[0, at:], x[1, at:], x[2, at:], x[3, at:]
        for j in range(block):
            q = signed(codes, place + 32 * j)
            p0, p1 = times_added(x0[j], q, p0), times_added(x1[j], q, p1)
            p2, p3 = times_added(x2[j], q, p2), times_added(x3[j], q, p3)
        i = (g * nb + b) * 32
        t0 = scaled(t0, p0, sums[0, b], middle, scales, offsets, wide, i)
        t1 = scaled(t1, p1, sums[1, b], middle, scales, offsets, wide, i)
        t2 = scaled(t2, p2, sums[2, b], middle, scales, offsets, wide, i)
        t3 = scaled(t3, p3, sums[3, b], middle, scales, offsets, wide, i)
    put(out, 0, t0)
    put(out, 32, t1)
    put(out, 64, t2)
    put(out, 96, t3)


@helper
def bits8_eight(x, sums, stage, middle, g, out):
    """As bits4_eight for codes of 8 bits."""
    codes, scales, offsets = stage[CODES], stage[SCALES], stage[OFFSETS]
    wide, block = stage[WIDE], stage[BLOCK]
    nb, zero = sums.shape[1], lanes(f(0.0))
    t0, t1, t2, t3, t4, t5, t6, t7 = zero, zero, zero, zero, zero, zero, zero, zero
    for b in range(nb):
        p0, p1, p2, p3, p4, p5, p6, p7 = zero, zero, zero, zero, zero, zero, zero, zero
        at = b * block
        place = (g * nb + b) * block * 32
        x0, x1, x2, x3 = x[0, at:], x[1, at:], x[2, at:], x[3, at:]
        x4, x5, x6, x7 = x[4, at:], x[5, at:], x[6, at:], x[7, at:]
        for j in range(block):
            q = signed(codes, place + 32 * j)
            p0, p1 = times_added(x0[j], q, p0), times_added(x1[j], q, p1)
            p2, p3 = times_added(x2[j], q, p2), times_added(x3[j], q, p3)
            p4, p5 = times_added(x4[j], q, p4), times_added(x5[j], q, p5)
            p6, p7 = times_added(x6[j], q, p6), times_added(x7[j], q, p7)
        i = (g * nb + b) * 32
        t0 = scaled(t0, p0, sums[0, b], middle, scales, offsets, wide, i)
        t1 = scaled(t1, p1, sums[1, b], middle, scales, offsets, wide, i)
        t2 = scaled(t2, p2, sums[2, b], middle, scales, offsets, wide, i)
        t3 = scaled(t3, p3, sums[3, b], middle, scales, offsets, wide, i)
        t4 = scaled(t4, p4, sums[4, b], middle, scales, offsets, wide, i)
        t5 = scaled(t5, p5, sums[5, b], middle, scales, offsets, wide, i)
        t6 = scaled(t6, p6, sums[6, b], middle, scales, offsets, wide, i)
        t7 = scaled(t7, p7, sums[7, b], middle, scales, offsets, wide, i)
    put(out, 0, t0)
    put(out, 32, t1)
    put(out, 64, t2)
    put(out, 96, t3)
    put(out, 128, t4)
    put(out, 160, t5)
    put(out, 192, t6)
    put(out, 224, t7)


@helper
def table_four(x, sums, stage, middle, g, out):
    """As bits4_four for codes of 4 bits that stand for the numbers of a table (NF4)."""
    codes, scales, offsets, table = stage[CODES], stage[SCALES], stage[OFFSETS], stage[TABLE]
    wide, block = stage[WIDE], stage[BLOCK]
    half, nb, zero = block // 2, sums.shape[1], lanes(f(0.0))
    t0, t1, t2, t3 = zero, zero, zero, zero
    for b in range(nb):
        p0, p1, p2, p3, at = zero, zero, zero, zero, b * block
        place = (g * nb + b) * half * 32
        x0, x1, x2, x3 = x[0, at:], x[1, at:], x[2, at:], x[3, at:]
        for j in range(half):
            low = low_entry(codes, place + 32 * j, table)
            high = high_entry(codes, place + 32 * j, table)
            p0 = times_added(x0[half + j], high, times_added(x0[j], low, p0))
            p1 = times_added(x1[half + j], high, times_added(x1[j], low, p1))
            p2 = times_added(x2[half + j], high, times_added(x2[j], low, p2))
            p3 = times_added(x3[half + j], high, times_added(x3[j], low, p3))
        i = (g * nb + b) * 32
        t0 = scaled(t0, p0, sums[0, b], middle, scales, offsets, wide, i)
        t1 = scaled(t1, p1, sums[1, b], middle, scales, offsets, wide, i)
        t2 = scaled(t2, p2, sums[2, b], middle, scales, offsets, wide, i)
        t3 = scaled(t3, p3, sums[3, b], middle, scales, offsets, wide, i)
    put(out, 0, t0)
    put(out, 32, t1)
    put(out, 64, t2)
    put(out, 96, t3)


@helper
def table_one(x, sums, stage, middle, g, out):
    """As bits4_one for codes of 4 bits that stand for the numbers of a table (NF4)."""
    codes, scales, offsets, table = stage[CODES], stage[SCALES], stage[OFFSETS], stage[TABLE]
    wide, block = stage[WIDE], stage[BLOCK]
    half, total = block // 2, lanes(f(0.0))
    for b in range(sums.size):
        low, high, at = lanes(f(0.0)), lanes(f(0.0)), b * block
        place = (g * sums.size + b) * half * 32
        first, second = x[at : at + half], x[at + half : at + block]
        for j in range(first.size):
            low = times_added(first[j], low_entry(codes, place + 32 * j, table), low)
            high = times_added(second[j], high_entry(codes, place + 32 * j, table), high)
        i = (g * sums.size + b) * 32
        total = scaled(total, added(low, high), sums[b], middle, scales, offsets, wide, i)
    put(out, 0, total)


@helper
def packed_group(x, sums, stage, middle, g, out):
    """out (R·32) = x·Wᵀ for the 32 rows of group g: x (R, K), sums (R, K/block)."""
    kind, R, done = stage[FORMAT], x.shape[0], 0
    if kind != NF4:
        done = R // 8 * 8
        for r in range(0, done, 8):
            eight, total, part = x[r : r + 8], sums[r : r + 8], out[32 * r : 32 * r + 256]
            if kind == BITS4:
                bits4_eight(eight, total, stage, middle, g, part)
            else:
                bits8_eight(eight, total, stage, middle, g, part)
    for r in range(done, R - 3, 4):
        some, total, part = x[r : r + 4], sums[r : r + 4], out[32 * r : 32 * r + 128]
        if kind == BITS4:
            bits4_four(some, total, stage, middle, g, part)
        elif kind == BITS8:
            bits8_four(some, total, stage, middle, g, part)
        else:
            table_four(some, total, stage, middle, g, part)
    for r in range(R // 4 * 4, R):
        row, part = x[r], out[32 * r : 32 * r + 32]
        if kind == BITS4:
            bits4_one(row, sums[r], stage, middle, g, part)
        elif kind == BITS8:
            bits8_one(row, sums[r], stage, middle, g, part)
        else:
            table_one(row, sums[r], stage, middle, g, part)


@helper
def rounded(code, d, m, has_offset):
    """d·code + m, both rounded, as NumPy computes it."""
    w = times(code, d)
    return added(w, m) if has_offset else w


@helper
def widened_group(stage, middle, K, g, out, column, width):
    """out[k·width + column …] = W[32 rows of group g, k] for every column k: a part of Wᵀ."""
    codes, scales, offsets, table = stage[CODES], stage[SCALES], stage[OFFSETS], stage[TABLE]
    wide, block, kind, has_offset = stage[WIDE], stage[BLOCK], stage[FORMAT], offsets != 0
    nb, half, minus = K // block, block // 2, lanes(-middle)
    for b in range(nb):
        i, at = (g * nb + b) * 32, b * block
        d = singles(scales, i) if wide else halves(scales, i)
        m = d
        if has_offset:
            m = singles(offsets, i) if wide else halves(offsets, i)
        for j in range(half if kind != BITS8 else block):
            place = column + (at + j) * width
            if kind == BITS8:
                code = signed(codes, (g * nb + b) * block * 32 + 32 * j)
                put(out, place, rounded(added(code, minus), d, m, has_offset))
                continue
            source = (g * nb + b) * half * 32 + 32 * j
            if kind == BITS4:
                low, high = low_half(codes, source), high_half(codes, source)
            else:
                low, high = low_entry(codes, source, table), high_entry(codes, source, table)
            put(out, place, rounded(added(low, minus), d, m, has_offset))
            put(out, place + half * width, rounded(added(high, minus), d, m, has_offset))

"""A decoder for a few new tokens: a kernel that runs a list of stages, all cores together.

At one token the time is that of reading the weights, and of what happens between two products.
Here nothing happens between them in Python: the stages (arrays.stages) become rows of a table of
numbers and addresses, and one call runs them all. Each core walks through the table. The work of a
stage is cut into chunks, and a core takes the next one from a counter; when none is left it waits,
without sleeping, until all are done. So a core that comes late, or never, is not missed.

Shapes: R = B·T new tokens, K columns, N rows of W, H query heads, KV heads of keys, D head_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.parallel import thread_count
from ...arrays.stages import Add, Attend, Gated, Linear, Norm, Weights
from .compiling import helper, kernel, on_every_core, shared
from .elementary import sigmoid
from .few_rows import activated, attended, normed, products, turned
from .lanes import (
    bits,
    count,
    flags,
    integers,
    let_others_run,
    matrix,
    numbers,
    take,
    yielding_address,
)
from .packed import (
    BFLOAT16,
    BITS4,
    BITS8,
    BLOCK,
    CODES,
    FLOATS,
    FORMAT,
    NF4,
    block_sums,
    packed_group,
    widened_group,
)

__all__ = ["Program", "packed_product", "packed_tile"]

f: Any = np.float64  # in a compiled copy the arrays' dtype
BITS = 52
OP, UNITS, CHUNKS = 0, 1, 2  # columns of the table; then those of each kind of stage
NORM, LINEAR, GATED, ADD, ATTEND = range(5)
WIDTH, NUMBERS = 24, 2
KEYS, VALUES, ROOM, AT, SEEN, S_ALL = 16, 17, 18, 19, 20, 21  # of ATTEND, which change
# Of ATTEND with several texts: how many, and where the array (texts, 6) lies that has for each its
# first token in the call, its new tokens, those before, its memory of keys and of values, the room.
N_TEXTS, TEXTS, TEXT_WIDTH = 22, 23, 6
STRIP = 16  # rows of a matrix of floats that a core takes at a time
PATIENCE = 4000  # looks at a counter before another thread may have the core
SHARED_NUMBERS = 1 << 18  # weights that take longer to read than a core takes to wake up
SHARED_STAGE = 1 << 13  # numbers of a stage that are worth sharing
FORMATS = {"floats": FLOATS, "bits4": BITS4, "bits8": BITS8, "nf4": NF4, "bfloat16": BFLOAT16}
IN_ROWS = ("floats", "bfloat16")  # formats of matrices in row order


@helper
def norm_stage(stage, values, scratch, start, stop):
    """Groups of channels of rows start … stop, normalised."""
    x_row, y_row, n, kind, add = stage[7], stage[8], stage[9], stage[10], stage[11]
    first, groups, step = stage[12], stage[13], stage[14]
    size = 8 if BITS == 52 else 4
    gain, shift, z = numbers(stage[5], n), numbers(stage[6], n), scratch[:n]
    for r in range(start, stop):
        for g in range(groups):
            at = (first + g * step) * size
            row = numbers(stage[3] + r * x_row * size + at, n)
            out = numbers(stage[4] + r * y_row * size + at, n)
            normed(row, z, gain, shift, values[0], values[1], kind)
            if add != 0:
                for j in range(n):
                    out[j] += z[j]
            else:
                for j in range(n):
                    out[j] = z[j]


@helper
def finished(part, bias, y, act, add):
    """y = f(part + bias), or y += part + bias; an empty bias is none."""
    if bias.size > 0:
        for i in range(part.size):
            part[i] += bias[i]
    if add != 0:
        for i in range(part.size):
            y[i] += part[i]
    elif act == 0:
        for i in range(part.size):
            y[i] = part[i]
    else:
        for i in range(part.size):
            y[i] = activated(part[i], act)


@helper
def linear_stage(stage, values, scratch, start, stop):
    """Rows of W from strip or group start to stop, for every row of x."""
    x_at, y_at, R, K, N, y_row = stage[3], stage[4], stage[5], stage[6], stage[7], stage[8]
    bias_at, act, add = stage[9], stage[10], stage[11]
    size, kind = 8 if BITS == 52 else 4, stage[FORMAT]
    packed = kind != FLOATS and kind != BFLOAT16
    x = matrix(x_at, R, K)
    height = 32 if packed else STRIP
    first, last = start * height, min(stop * height, N)
    if packed:
        nb = K // stage[BLOCK]
        sums, part = scratch[: R * nb], scratch[R * nb : R * (nb + 32)]
        block_sums(numbers(x_at, R * K), R, stage[BLOCK], sums)
        for g in range(start, stop):
            packed_group(x, sums.reshape(R, nb), stage, f(values[0]), g, part)
            n = min(N - g * 32, 32)
            bias = numbers(bias_at + g * 32 * size, n if bias_at != 0 else 0)
            for r in range(R):
                y = numbers(y_at + (r * y_row + g * 32) * size, n)
                finished(part[32 * r : 32 * r + n], bias, y, act, add)
    else:
        n = last - first
        bias = numbers(bias_at + first * size, n if bias_at != 0 else 0)
        part = scratch[: R * n].reshape(R, n)
        if kind == FLOATS:
            products(matrix(stage[CODES] + first * K * size, n, K), x, part)
        else:
            products(bits(stage[CODES] + first * K * 2, n, K), x, part)
        for r in range(R):
            finished(part[r], bias, numbers(y_at + (r * y_row + first) * size, n), act, add)


@helper
def gated_stage(stage, start, stop):
    """y = f(h[:, :n])·h[:, n:], rows start … stop."""
    h_at, y_at, n, act = stage[3], stage[4], stage[5], stage[6]
    for r in range(start, stop):
        h, y = matrix(h_at, 2 * stop, n), matrix(y_at, stop, n)
        gate, up, out = h[2 * r], h[2 * r + 1], y[r]
        for j in range(n):
            out[j] = activated(gate[j], act) * up[j]


@helper
def add_stage(stage, start, stop):
    """y += x, rows start … stop."""
    n = stage[5]
    x, y = matrix(stage[3], stop, n), matrix(stage[4], stop, n)
    for r in range(start, stop):
        row, out = x[r], y[r]
        for j in range(n):
            out[j] += row[j]


@helper
def attend_stage(stage, values, scratch, start, stop):
    """Pairs of a text and a head of keys, start … stop.

    New keys and values go into the cache, then the heads that share them look at them.
    """
    qkv_at, y_at, T, H, KV, D = stage[3], stage[4], stage[5], stage[6], stage[7], stage[8]
    gated, cos_at, sin_at, pairs = stage[9], stage[10], stage[11], stage[12]
    interleaved, window = stage[13], stage[14]
    at, room, masked, S_all = stage[AT], stage[ROOM], stage[SEEN] != 0, stage[S_ALL]
    size, group = 8 if BITS == 52 else 4, H // KV
    wide = 2 if gated != 0 else 1
    heads = wide * H + 2 * KV
    q, scores = scratch[:D], scratch[D:]
    texts = integers(stage[TEXTS], stage[N_TEXTS], TEXT_WIDTH)
    for unit in range(start, stop):
        b, kv = unit // KV, unit % KV
        first_row, own, keys_at, values_at = b * T, unit, stage[KEYS], stage[VALUES]
        if stage[N_TEXTS] > 0:  # each text has its own memory
            first_row, T, at, own = texts[b, 0], texts[b, 1], texts[b, 2], kv
            keys_at, values_at, room = texts[b, 3], texts[b, 4], texts[b, 5]
        keys = matrix(keys_at + own * room * D * size, at + T, D)
        stored = matrix(values_at + own * room * D * size, at + T, D)
        for t in range(T):
            row = first_row + t
            new = matrix(qkv_at + row * heads * D * size, heads, D)
            cos = numbers(cos_at + row * pairs * size, pairs)
            sin = numbers(sin_at + row * pairs * size, pairs)
            turned(new[wide * H + kv], keys[at + t], cos, sin, interleaved)
            value, place = new[wide * H + KV + kv], stored[at + t]
            for j in range(D):
                place[j] = value[j]
        for t in range(T):
            row, end = first_row + t, at + t + 1
            first = max(0, end - window)
            new = matrix(qkv_at + row * heads * D * size, heads, D)
            cos = numbers(cos_at + row * pairs * size, pairs)
            sin = numbers(sin_at + row * pairs * size, pairs)
            seen = flags(stage[SEEN] + row * S_all + first, end - first)
            out = matrix(y_at + row * H * D * size, H, D)
            for h in range(kv * group, kv * group + group):
                turned(new[wide * h], q, cos, sin, interleaved)
                y = out[h]
                attended(q, keys[first:end], stored[first:end], seen, masked,
                         scores[: end - first], y, f(values[0]), f(values[1]))  # fmt: skip
                if gated != 0:
                    gate = new[2 * h + 1]
                    for j in range(D):
                        y[j] *= sigmoid(gate[j])


@kernel
def run(like, room, table, values, counters, yielding, start, stop):
    """All stages of the table, together with the other cores that run it at the same time.

    room: numbers of memory that each core needs for itself; counters: two zeros for each stage;
    start, stop: as every kernel has them, here without a meaning
    """
    scratch = np.empty(room, like.dtype)
    for s in range(len(table)):
        stage, numbers_of = table[s], values[s]
        units, chunks, op = stage[UNITS], stage[CHUNKS], stage[OP]
        c = take(counters, 2 * s)
        while c < chunks:
            start, stop = units * c // chunks, units * (c + 1) // chunks
            if op == LINEAR:
                linear_stage(stage, numbers_of, scratch, start, stop)
            elif op == NORM:
                norm_stage(stage, numbers_of, scratch, start, stop)
            elif op == GATED:
                gated_stage(stage, start, stop)
            elif op == ATTEND:
                attend_stage(stage, numbers_of, scratch, start, stop)
            else:
                add_stage(stage, start, stop)
            take(counters, 2 * s + 1)
            c = take(counters, 2 * s)
        looks = 0
        while count(counters, 2 * s + 1) < chunks:
            looks += 1
            if looks > PATIENCE:
                let_others_run(yielding)


@kernel
def widen(out, table, values, K, first, start, stop):
    """The groups first + start … first + stop of packed weights as floats: out (K, 32·groups)."""
    whole, width = out.reshape(out.size), out.shape[1]
    for g in range(stop - start):
        column = 32 * (start + g)
        widened_group(table[0], f(values[0, 0]), K, first + start + g, whole, column, width)


# ------------------------------------------------------------------------- from stages to a table
def _at(array: Any) -> int:
    return 0 if array is None else int(array.__array_interface__["data"][0])


class Program:
    """Stages as a table. Their arrays must be in row order, and stay where they are.

    dtype: of the numbers, float32 or float64; R: new tokens
    """

    def __init__(self, stages: Sequence[Any], R: int, dtype: Any) -> None:
        self.stages = list(stages)  # they own the arrays
        self.like = np.empty(0, dtype)
        self.table = np.zeros((len(stages), WIDTH), np.int64)
        self.values = np.zeros((len(stages), NUMBERS))
        self.rows, self.yielding, self.room = R, yielding_address(), 1
        self.attends: list[tuple[int, Attend, Any]] = []  # and new keys, for their shape
        self.memory: dict[int, Any] = {}  # the keys that an Attend's row points to
        self.owned: list[Any] = []
        self.texts: Any = None  # (attends, texts, 6), and the first layer's keys of each text
        self.text_memory: list[Any] = []
        self.read = 0  # numbers that the stages read, weights above all
        for i, stage in enumerate(self.stages):
            row: list[int] = _PLACED[type(stage)](self, i, stage)
            self.table[i, : len(row)] = row
        self._counters = np.zeros(2 * len(stages), np.int64)

    def needs(self, n: int) -> None:
        """A core needs n numbers of memory for itself."""
        self.room = max(self.room, n)

    def chunks(self, units: int, size: int) -> int:
        """Into how many parts the units of a stage are cut that goes through `size` numbers."""
        cores = thread_count()
        if cores == 1 or size < SHARED_STAGE:
            return 1
        return max(1, min(units, 4 * cores if size > 16 * SHARED_STAGE else cores))

    def norm(self, i: int, s: Norm) -> list[int]:
        """A Norm's row of the table; the others the same."""
        self.values[i] = s.eps, s.offset
        self.needs(s.n)
        ones, zeros = np.full(s.n, 1.0 - s.offset), np.zeros(s.n)
        gain, shift = (
            empty.astype(self.like.dtype) if given is None else given
            for given, empty in ((s.gain, ones), (s.shift, zeros))
        )
        self.owned += [gain, shift]
        rows = [s.x.size // self.rows, s.y.size // self.rows]
        return [NORM, self.rows, 1, _at(s.x), _at(s.y), _at(gain), _at(shift), *rows, s.n,
                2 if s.is_rms else 1, s.add, s.start, s.groups, s.step]  # fmt: skip

    def linear(self, i: int, s: Linear) -> list[int]:
        w = s.weights
        (N, K), packed = w.shape, w.kind not in IN_ROWS
        units = -(-N // (32 if packed else STRIP))
        self.values[i, 0] = w.middle
        nb = K // w.block if packed else 0
        self.read += N * K
        chunks = self.chunks(units, max(1, self.rows // 4) * N * K)
        self.needs(self.rows * (nb + 32 if packed else STRIP * -(-units // chunks)))
        wide = packed and w.scales.dtype == np.float32
        y = _at(s.y) + s.start * self.like.itemsize
        row = [LINEAR, units, chunks, _at(s.x), y, self.rows, K, N, s.y.size // self.rows,
               _at(s.bias), s.activation, s.add, FORMATS[w.kind], _at(w.codes), _at(w.scales),
               _at(w.offsets), w.block, wide, _at(w.table)]  # fmt: skip
        return row

    def gated(self, i: int, s: Gated) -> list[int]:
        n = s.y.size // self.rows
        return [GATED, self.rows, self.chunks(self.rows, 8 * s.y.size), _at(s.h), _at(s.y), n,
                s.activation]  # fmt: skip

    def add(self, i: int, s: Add) -> list[int]:
        return [ADD, self.rows, 1, _at(s.x), _at(s.y), s.y.size // self.rows]

    def attend(self, i: int, s: Attend) -> list[int]:
        T, pairs = s.qkv.shape[1], 0 if s.cos is None else s.cos.shape[-1]
        self.values[i] = s.scale, 0.0 if s.softcap is None else s.softcap
        self.attends.append((i, s, s.qkv[:, :, : s.n_kv_heads].transpose(0, 2, 1, 3)))
        window = (1 << 62) if s.window is None else s.window
        return [ATTEND, s.qkv.shape[0] * s.n_kv_heads, 1, _at(s.qkv), _at(s.y), T, s.n_heads,
                s.n_kv_heads, s.head_dim, s.gate, _at(s.cos), _at(s.sin), pairs, s.interleaved,
                window]  # fmt: skip

    def with_cache(self, parts: Sequence[Any], seen: Any) -> None:
        """Make room in the caches for the new tokens; from now on the table shows that memory.

        parts: an AttentionCache for each of the model's layers that has one
        seen: a function of the first position in memory -> None, or bool (B, T, keys in memory)
        """
        table = self.table
        for i, s, k in self.attends:
            keys, values, start, past = parts[s.part].reserve(k)
            mask, at, T = seen(start), past - start, s.qkv.shape[1]
            table[i, AT] = at
            if self.memory.get(i) is not keys:  # it has moved
                self.memory[i] = keys
                table[i, KEYS : KEYS + 3] = _at(keys), _at(values), keys.shape[2]
            if mask is not None or table[i, SEEN]:
                S = 0 if mask is None else mask.shape[-1]
                table[i, SEEN], table[i, S_ALL] = _at(mask), S
            n_seen = at + T if s.window is None else min(at + T, s.window + T)
            table[i, CHUNKS] = self.chunks(len(k) * s.n_kv_heads, 4 * s.y.size * n_seen)
            self.needs(s.head_dim + at + T)

    def with_texts(self, caches: Sequence[Any], counts: Sequence[int]) -> None:
        """`with_cache` for several texts: a cache and a number of new tokens for each.

        The parts of a cache grow together, so that a look at the first says whether all have room.
        """
        table, n = self.table, len(caches)
        if not self.attends:
            return
        if len(self.text_memory) < n:
            self.texts = np.zeros((len(self.attends), n, TEXT_WIDTH), np.int64)
            self.text_memory = [None] * n
            for a, (i, _, _) in enumerate(self.attends):
                table[i, TEXTS] = _at(self.texts[a])
        leading = [cache.layers[self.attends[0][1].part] for cache in caches]
        past, new = np.array([part.length for part in leading]), np.array(counts)
        for b, (cache, added) in enumerate(zip(caches, counts, strict=True)):
            known, first = self.text_memory[b], leading[b]
            if known is first._keys and known is not None and past[b] + added <= known.shape[2]:
                for _, s, _ in self.attends:
                    cache.layers[s.part].length += added
                continue
            for a, (_, s, k) in enumerate(self.attends):
                keys, values, _, _ = cache.layers[s.part].reserve(k[:1, :, :added])
                self.texts[a, b, 3:] = _at(keys), _at(values), keys.shape[2]
            self.text_memory[b] = first._keys
        self.texts[:, :n, 0], self.texts[:, :n, 1] = np.cumsum(new) - new, new
        self.texts[:, :n, 2] = past
        seen, longest = int((new * (past + new)).sum()), int((past + new).max())
        for i, s, _ in self.attends:
            chunks = self.chunks(n * s.n_kv_heads, 4 * s.n_heads * s.head_dim * seen)
            row = table[i]
            row[N_TEXTS], row[UNITS], row[CHUNKS] = n, n * s.n_kv_heads, chunks
            self.needs(s.head_dim + longest)

    def run(self) -> None:
        """Run all stages."""
        self._counters[:] = 0
        counters = self._counters
        args = self.like, self.room, self.table, self.values, counters, self.yielding
        if self.read * max(1, self.rows // 4) < SHARED_NUMBERS:
            run(*args, 0, 1)
        else:
            on_every_core(run, *args)


_PLACED: dict[type, Any] = {
    Norm: Program.norm, Linear: Program.linear, Gated: Program.gated, Add: Program.add,
    Attend: Program.attend,
}  # fmt: skip


def packed_product(x: Any, weights: Weights) -> Any:
    """x·Wᵀ for a few rows: x (R, K) -> (R, N), in the dtype of x."""
    y = np.empty((len(x), weights.shape[0]), x.dtype)
    Program([Linear(x, y, weights)], len(x), x.dtype).run()
    return y


def packed_tile(weights: Weights, first: int, groups: int) -> Any:
    """Some groups of packed weights as float32, transposed: (K, 32·groups)."""
    K = weights.shape[1]
    out = np.empty((K, 32 * groups), np.float32)
    empty = np.empty((1, 1), np.float32)
    read = Program([Linear(empty, empty, weights)], 1, out.dtype)
    shared(widen, groups, out.size, out, read.table, read.values, K, first)
    return out

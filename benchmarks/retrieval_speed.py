"""Memory, time and agreement of searches: flat, by lists, by a graph, by bits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm.retrieval import binary_codes, search_codes, search_vectors
from tinygrad_llm.retrieval.approximate import KINDS, FaissIndex, agreement
from tinygrad_llm.retrieval.binary import BinaryIndex

__all__ = ["measure_speed"]

ROUNDS = 3


def clustered(n: int, n_queries: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, width), queries (n_queries, width) around 100 centres: float32, of length 1."""
    r = np.random.default_rng(0)
    centres = r.standard_normal((100, width))
    both = centres[r.integers(0, 100, n + n_queries)] + r.standard_normal((n + n_queries, width))
    both = (both / np.linalg.norm(both, axis=1, keepdims=True)).astype(np.float32)
    return both[:n], both[n:]


def measure_speed(n: int, width: int = 384, n_queries: int = 200) -> dict[str, Any]:
    """Print memory, time and agreement with exact search: all queries together, and one by one."""
    vectors, queries = clustered(n, n_queries, width)
    codes, asked = binary_codes(vectors), binary_codes(queries)
    bits = BinaryIndex(vectors)
    graph = 4 * 2 * 32  # bytes of a vertex's links in hnsw, 64 numbers of int32
    ways: dict[str, tuple[float, float, Callable[[np.ndarray, np.ndarray], Any]]] = {
        "NumPy, exact": (0.0, 4 * width, lambda q, c: search_vectors(q, vectors, 10)),
        "NumPy, Hamming": (0.0, width / 8, lambda q, c: search_codes(c, codes, 10)),
        "NumPy, Hamming, 100 re-ranked": (0.0, width / 8, lambda q, c: bits.search(q, 10, 100)),
    }
    sizes = {"flat": 4 * width, "ivf": 4 * width + 8, "hnsw": 4 * width + graph,
             "binary": width / 8}  # fmt: skip
    for kind in KINDS:
        start = time.perf_counter()
        index = FaissIndex(vectors, kind)
        ways[f"Faiss, {kind}"] = (
            time.perf_counter() - start, sizes[kind], lambda q, c, index=index: index.search(q, 10)
        )  # fmt: skip
    exact = search_vectors(queries, vectors, 10)
    result = {}
    print(f"\n{n:,} vectors of {width} numbers, {n_queries} queries, the 10 best\n")
    print("| index | bytes per vector | build, s | ms per query, together | alone | ids of "
          "exact search |\n" + "|---" * 6 + "|")  # fmt: skip
    for name, (built, size, search) in ways.items():
        hits = search(queries, asked)  # also the warm-up
        shared = float(agreement(hits, exact).mean())
        together = min(_seconds(lambda s=search: s(queries, asked)) for _ in range(ROUNDS))
        alone = min(_seconds(lambda s=search, i=i: s(queries[i : i + 1], asked[i : i + 1]))
                    for i in range(20))  # fmt: skip
        result[name] = (size, built, 1e3 * together / n_queries, 1e3 * alone, shared)
        print(f"| {name} | {size:,.0f} | {built:.2f} | {1e3 * together / n_queries:.3f} | "
              f"{1e3 * alone:.2f} | {shared:.3f} |")  # fmt: skip
    return result


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

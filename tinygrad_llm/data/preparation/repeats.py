"""Which documents and paragraphs stay: of equal and of nearly equal ones the first.

The hashes of all units may not fit into memory, so they are looked at in classes: those hashes
whose remainder by the number of classes is 0, then 1, ... Equal hashes are in one class, so the
result does not depend on how many classes there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...files.json_files import write_json
from .minhash import BANDS, EMPTY, band_keys, similar_earlier
from .settings import Settings
from .store import Store

__all__ = ["decide_repeats", "later_copies"]

TOGETHER = 1 << 23  # hashes in memory


def decide_repeats(store: Store, n_units: int, settings: Settings) -> None:
    """Write for each unit which documents (0 stays, 1 equal, 2 nearly equal to an earlier one) and
    paragraphs stay, and which documents are for validation.
    """
    if (store.work / "kept.json").exists():
        return
    sizes = [[len(a) for a in store.arrays(n, "hashes", "paragraph_hashes")]
             for n in range(n_units)]  # fmt: skip
    documents = np.concatenate([[0], np.cumsum([size[0] for size in sizes])]).astype(np.int64)
    paragraphs = np.concatenate([[0], np.cumsum([size[1] for size in sizes])]).astype(np.int64)
    dropped = np.zeros(documents[-1], np.uint8)
    repeated = np.zeros(paragraphs[-1], bool)
    if settings.documents != "keep":
        dropped[later_copies(store, n_units, "hashes", documents)] = 1
    if settings.documents == "near":
        near = _near(store, n_units, "minima", documents, settings.similarity)
        dropped[near[dropped[near] == 0]] = 2
    if settings.paragraphs != "keep":
        stays = np.repeat(dropped == 0, _counts(store, n_units))
        repeated[later_copies(store, n_units, "paragraph_hashes", paragraphs, stays)] = True
    if settings.paragraphs == "near":
        near = _near(store, n_units, "paragraph_minima", paragraphs, settings.similarity, stays)
        long = np.concatenate([store.arrays(n, "paragraph_hashes")[0] for n in range(n_units)])
        repeated[near[long[near] != 0]] = True
    validation = _for_validation(store, n_units, dropped, settings.val_fraction)
    for n in range(n_units):
        own = slice(documents[n], documents[n + 1])
        store.write_arrays(n, "kept.npz", {
            "documents": dropped[own], "validation": validation[own],
            "paragraphs": repeated[paragraphs[n] : paragraphs[n + 1]],
        })  # fmt: skip
    facts: dict[str, Any] = {
        "equal": int((dropped == 1).sum()), "near": int((dropped == 2).sum()),
        "paragraphs": int(repeated.sum()),
    }  # fmt: skip
    write_json(store.work / "kept.json", facts)


def _counts(store: Store, n_units: int) -> np.ndarray:
    """How many paragraphs each document has."""
    return np.concatenate([store.arrays(n, "paragraphs")[0] for n in range(n_units)]).astype(
        np.int64
    )


def later_copies(
    store: Store, n_units: int, name: str, starts: np.ndarray, stays: np.ndarray | None = None
) -> np.ndarray:
    """The places of hashes that stood before; a hash of 0 counts as new, what goes as not there.

    name: of the array of hashes; starts (units + 1): where each unit's places begin
    """
    classes = max(1, -(-int(starts[-1]) // TOGETHER))
    places_of_copies = []
    for remainder in range(classes):
        hashes, places = [], []
        for n in range(n_units):
            (own,) = store.arrays(n, name)
            chosen = own != 0
            if classes > 1:
                chosen &= own % np.uint64(classes) == remainder
            if stays is not None:
                chosen &= stays[starts[n] : starts[n + 1]]
            at = np.flatnonzero(chosen)
            hashes.append(own[at].astype(np.uint64))
            places.append(at + starts[n])
        joined, where = np.concatenate(hashes), np.concatenate(places)
        order = np.argsort(joined, kind="stable")
        joined, where = joined[order], where[order]
        places_of_copies.append(where[1:][joined[1:] == joined[:-1]])
    return np.concatenate(places_of_copies)


class _Minima:
    """The minima of all units, read from their files where they are asked for."""

    def __init__(self, store: Store, name: str, starts: np.ndarray) -> None:
        self.store, self.name, self.starts = store, name, starts

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        units = np.searchsorted(self.starts, places, "right") - 1
        rows: np.ndarray | None = None
        for unit in np.unique(units).tolist():
            (own,) = self.store.arrays(unit, self.name)
            if rows is None:
                rows = np.empty((len(places), own.shape[1]), np.uint32)
            mine = units == unit
            rows[mine] = own[places[mine] - self.starts[unit]]
        return np.zeros((0, 1), np.uint32) if rows is None else rows


def _near(
    store: Store, n_units: int, name: str, starts: np.ndarray, threshold: float,
    stays: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """The places that are similar to an earlier one."""
    minima: Any = _Minima(store, name, starts)
    places_of_copies = [np.zeros(0, np.int64)]
    for band in range(BANDS):
        for keys, places in _keys(store, n_units, name, starts, band, stays):
            places_of_copies.append(similar_earlier(keys, places, minima, threshold)[:, 1])
    return np.unique(np.concatenate(places_of_copies))


def _keys(
    store: Store, n_units: int, name: str, starts: np.ndarray, band: int,
    stays: np.ndarray | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """(keys of a band, their places), class after class."""
    classes = max(1, -(-int(starts[-1]) // TOGETHER))
    for remainder in range(classes):
        keys, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for n in range(n_units):
            (minima,) = store.arrays(n, name)
            if not len(minima):
                continue
            own = band_keys(minima)[:, band]
            chosen = minima[:, 0] != EMPTY
            if classes > 1:
                chosen &= own % np.uint64(classes) == remainder
            if stays is not None:
                chosen &= stays[starts[n] : starts[n + 1]]
            at = np.flatnonzero(chosen)
            keys.append(own[at])
            places.append(at + starts[n])
        yield np.concatenate(keys), np.concatenate(places)


def _for_validation(store: Store, n_units: int, dropped: np.ndarray, fraction: float) -> np.ndarray:
    """Which documents are for validation: those whose hash is in the lowest `fraction` of all.

    Where that is none of two or more, the one with the lowest hash.
    """
    joined = [store.arrays(n, "hashes")[0].astype(np.uint64) for n in range(n_units)]
    hashes = np.concatenate(joined) if joined else np.zeros(0, np.uint64)
    stays = np.flatnonzero(dropped == 0)
    chosen: np.ndarray = hashes < np.uint64(int(fraction * 2.0**64) if fraction else 0)
    if fraction and len(stays) >= 2 and not chosen[stays].any():
        chosen[stays[np.argmin(hashes[stays])]] = True
    return chosen

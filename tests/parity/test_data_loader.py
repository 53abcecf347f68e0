"""Data sets, samplers and loaders: PyTorch's batches, in PyTorch's order, from the same seed.

After each case both default generators are in the same state, so that what is drawn after a pass
over a loader (dropout, a new model) is the same too.
"""

from __future__ import annotations

import collections
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402

seeds = st.integers(0, 2**64 - 1)
LIBRARIES = (torch, tg)
Point = collections.namedtuple("Point", ["x", "y"])


def plain(value):
    """Tensors as (dtype, numbers), everything else unchanged."""
    if isinstance(value, torch.Tensor | tg.Tensor):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        made = [plain(v) for v in value]
        return (type(value).__name__, *made)
    return value


def twice(go, seed=0):
    """go(library) returns the same in both; the generators are in the same state afterwards."""
    results = []
    for lib in LIBRARIES:
        lib.manual_seed(seed)
        results.append(plain(go(lib)))
    assert results[0] == results[1]
    assert torch.get_rng_state().tolist() == tg.get_rng_state().tolist()
    return results[1]


@settings(max_examples=100)
@given(
    seed=seeds,
    n=st.integers(1, 50),
    batch_size=st.one_of(st.none(), st.integers(1, 12)),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    own=st.booleans(),
    epochs=st.integers(1, 3),
    stop=st.integers(0, 9),
)
def test_batches(seed, n, batch_size, shuffle, drop_last, own, epochs, stop):
    """Several passes, the last one stopped early, with draws between them."""
    options = {"batch_size": batch_size, "shuffle": shuffle}
    options["drop_last"] = drop_last and batch_size is not None

    def go(lib):
        data = lib.utils.data.TensorDataset(lib.arange(n), lib.arange(n) * 0.5)
        generator = lib.Generator().manual_seed(seed) if own else None
        loader = lib.utils.data.DataLoader(data, generator=generator, **options)
        seen = [len(loader)]
        for _ in range(epochs):
            seen.append(list(loader))
            seen.append(lib.rand(2))
        for _, batch in zip(range(stop), loader):  # noqa: B905
            seen.append(batch)
        return seen + [lib.rand(1)]

    twice(go, seed)


@pytest.mark.slow
@pytest.mark.ci
@settings(max_examples=1000)
@given(seed=seeds, n=st.integers(1, 200), batch_size=st.integers(1, 20))
def test_a_thousand_shuffled_loaders(seed, n, batch_size):
    def go(lib):
        loader = lib.utils.data.DataLoader(range(n), batch_size=batch_size, shuffle=True)
        return [list(loader), list(loader), lib.randn(1)]

    twice(go, seed)


@settings(max_examples=25)
@given(
    seed=seeds, n=st.integers(1, 30), batch_size=st.integers(1, 7), drop_last=st.booleans(),
    workers=st.integers(1, 4),
)  # fmt: skip
def test_workers_give_what_one_process_gives(seed, n, batch_size, drop_last, workers):
    """PyTorch without workers, because its processes start slowly; its order is the same."""

    def go(lib):
        count = workers if lib is tg else 0
        loader = lib.utils.data.DataLoader(
            range(n), batch_size, shuffle=True, drop_last=drop_last, num_workers=count
        )
        return [list(loader), list(loader), lib.rand(1)]

    twice(go, seed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_workers", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [None, 1, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_streams_with_workers(n_workers, batch_size, drop_last):
    """Every worker has the whole stream, unless it asks which worker it is."""
    if batch_size is None and drop_last:
        pytest.skip("there are no batches to drop")

    def go(lib):
        class Stream(lib.utils.data.IterableDataset):
            def __iter__(self):
                me = lib.utils.data.get_worker_info()
                assert me.num_workers == n_workers
                return iter(range(me.id * 100, me.id * 100 + 4 + 3 * me.id))

        return list(
            lib.utils.data.DataLoader(
                Stream(), batch_size=batch_size, num_workers=n_workers, drop_last=drop_last
            )
        )

    twice(go)


@settings(max_examples=50)
@given(seed=seeds, n=st.integers(1, 40), data=st.data(), own=st.booleans())
def test_random_split(seed, n, data, own):
    if data.draw(st.booleans()):
        cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
        lengths = [b - a for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    else:
        first = data.draw(st.floats(0, 1))
        lengths = [first, 1.0 - first]

    def go(lib):
        generator = lib.Generator().manual_seed(seed) if own else None
        parts = lib.utils.data.random_split(range(n), lengths, generator)
        return [[len(part), list(part.indices), list(part)] for part in parts]

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twice(go, seed)


@settings(max_examples=60)
@given(seed=seeds, n=st.integers(1, 40), data=st.data(), own=st.booleans())
def test_samplers(seed, n, data, own):
    """Two passes over each, so that the second must begin where the first left the stream."""
    n_samples = data.draw(st.one_of(st.none(), st.integers(1, 100)))
    weights = data.draw(st.lists(st.floats(0.01, 1), min_size=n, max_size=n))
    size = data.draw(st.integers(1, 9))

    def go(lib):
        d = lib.utils.data
        generator = lib.Generator().manual_seed(seed) if own else None
        samplers = [
            d.SequentialSampler(range(n)),
            d.RandomSampler(range(n), num_samples=n_samples, generator=generator),
            d.RandomSampler(range(n), True, n_samples, generator),
            d.SubsetRandomSampler([i * i for i in range(n)], generator),
            d.WeightedRandomSampler(weights, n_samples or 5, generator=generator),
            d.WeightedRandomSampler(weights, min(n_samples or 5, n), False, generator),
        ]
        samplers += [
            d.BatchSampler(d.RandomSampler(range(n), generator=generator), size, drop)
            for drop in (False, True)
        ]
        return [[len(s), list(s), list(s)] for s in samplers]

    twice(go, seed)


def test_a_sampler_and_a_collate_function_of_ones_own():
    def go(lib):
        d = lib.utils.data

        def collate(examples):
            longest = max(map(len, examples))
            return lib.tensor([e + [-100] * (longest - len(e)) for e in examples])

        texts = [[1], [2, 3], [4, 5, 6], [7], [8, 9]]
        return [
            list(d.DataLoader(texts, batch_size=2, shuffle=True, collate_fn=collate)),
            list(d.DataLoader(texts, sampler=[4, 0, 2], collate_fn=collate)),
            list(d.DataLoader(texts, batch_sampler=[[0, 1], [4]], collate_fn=collate)),
            list(d.DataLoader(texts, batch_size=None, shuffle=True)),
            list(d.DataLoader(d.Subset(texts, [3, 0]), collate_fn=collate)),
        ]

    twice(go)


def test_the_books_data_set():
    """Windows of a text, as "Build a Large Language Model" cuts them: inputs and targets."""

    def go(lib):
        class Windows(lib.utils.data.Dataset):
            def __init__(self, ids, length, stride):
                starts = range(0, len(ids) - length, stride)
                self.inputs = [lib.tensor(ids[i : i + length]) for i in starts]
                self.targets = [lib.tensor(ids[i + 1 : i + length + 1]) for i in starts]

            def __len__(self):
                return len(self.inputs)

            def __getitem__(self, i):
                return self.inputs[i], self.targets[i]

        loader = lib.utils.data.DataLoader(
            Windows(list(range(90)), 8, 4), batch_size=4, shuffle=True, drop_last=True,
            num_workers=0,
        )  # fmt: skip
        return [list(loader), list(loader)]

    batches = twice(go, 123)
    assert len(batches[1]) == 1 + 5


COLLATED = """
[1, 2]
[1.0, 2]
[True, False]
[np.float32(1), np.float32(2)]
[np.int64(1), np.int64(2)]
[np.bool_(True)]
[np.zeros(2), np.ones(2)]
[np.zeros((), np.float32)]
['a', 'b']
[b'x', b'y']
[(1, 2.0), (3, 4.0)]
[[1, 2.0], [3, 4.0]]
[[(1, 'a'), [2]], [(3, 'b'), [4]]]
[{'a': 1, 'b': [1, 2]}, {'a': 2, 'b': [3, 4]}]
[collections.OrderedDict(a=1), collections.OrderedDict(a=2)]
[Point(1, 2.0), Point(3, 4.0)]
[[], []]
[t(1), t(2)]
[t([1.0, 2.0]), t([3.0, 4.0])]
[(1, 2), (3,)]
[None, None]
[t([1]), t([1, 2])]
[{'a': 1}, {'b': 2}]
[np.array(['a'])]
[object()]
[]
range(3)
""".strip().splitlines()


def outcome(function):
    """What it returns, or the class of its error."""
    try:
        return plain(function())
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("expression", COLLATED)
@pytest.mark.parametrize("function", ["default_collate", "default_convert"])
def test_collate(expression, function):
    if function == "default_convert" and "object" in expression:
        pytest.skip("the object itself comes back")
    results = [
        outcome(
            lambda lib=lib: getattr(lib.utils.data, function)(
                eval(expression, {"np": np, "t": lib.tensor, "collections": collections,
                                  "Point": Point})
            )
        )
        for lib in LIBRARIES
    ]  # fmt: skip
    assert results[0] == results[1]


EXPRESSIONS = """
DataLoader(ds, batch_size=0)
DataLoader(ds, batch_size=-1)
DataLoader(ds, batch_size=2.5)
DataLoader(ds, shuffle=True, sampler=[1, 2])
DataLoader(ds, batch_sampler=[[1]], batch_size=2)
DataLoader(ds, batch_sampler=[[1]], shuffle=True)
DataLoader(ds, batch_sampler=[[1]], drop_last=True)
DataLoader(ds, batch_size=None, drop_last=True)
DataLoader(ds, num_workers=-1)
DataLoader(ds, timeout=-1)
DataLoader(ds, persistent_workers=True)
DataLoader(ds, prefetch_factor=2)
DataLoader(ds, num_workers=1, prefetch_factor=-1)
DataLoader(ds, multiprocessing_context='fork')
DataLoader(ds, unknown=1)
DataLoader(stream, shuffle=True)
DataLoader(stream, sampler=[1])
DataLoader(stream, batch_sampler=[[1]])
DataLoader([], shuffle=True)
len(DataLoader(stream))
len(DataLoader(ds, batch_size=3))
len(DataLoader(ds, batch_size=3, drop_last=True))
len(DataLoader(ds, batch_size=None))
len(iter(DataLoader(ds, batch_size=3)))
list(DataLoader(stream, batch_size=3))
list(DataLoader(stream, batch_size=3, drop_last=True))
list(DataLoader(stream, batch_size=None))
list(DataLoader([], batch_size=3))
list(DataLoader(bad, batch_size=2))
setattr(DataLoader(ds), 'batch_size', 3)
setattr(DataLoader(ds), 'dataset', 3)
BatchSampler([1, 2], 0, False)
BatchSampler([1, 2], True, False)
BatchSampler([1, 2], 2, 1)
RandomSampler([])
RandomSampler(ds, num_samples=0)
RandomSampler(ds, replacement=1)
WeightedRandomSampler([0.1], 0)
WeightedRandomSampler([0.1], 2, 1)
WeightedRandomSampler([[0.1], [0.2]], 2)
list(WeightedRandomSampler([0.1, 0.2], 3, False))
TensorDataset(zeros(2), zeros(3))
TensorDataset(arange(3))[0:2]
Subset(ds, [1, 2])[0]
Subset(ds, [1, 2])[[0, 1]]
Subset(ds, [1, 2])[5]
ConcatDataset([ds, ds])[12]
ConcatDataset([ds, ds])[-1]
ConcatDataset([ds, ds])[-21]
ConcatDataset([ds, ds])[20]
ConcatDataset([ds, ds]).cumulative_sizes
ConcatDataset([])
ConcatDataset([stream])
len(ds + ds)
list(stream + stream)
list(ChainDataset([stream, stream]))
list(ChainDataset([ds]))
StackDataset(ds, ds)[3]
StackDataset(a=ds, b=ds)[3]
StackDataset()
StackDataset(ds, [1])
random_split(ds, [3, 3])
random_split(ds, [0.5, 0.6])
random_split(ds, [0.5, -0.1, 0.6])
Dataset()[0]
IterableDataset()
iter(Sampler())
get_worker_info()
""".strip().splitlines()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_options_and_errors(expression):
    def go(lib):
        class Stream(lib.utils.data.IterableDataset):
            def __iter__(self):
                return iter(range(7))

        class Bad(lib.utils.data.Dataset):
            def __len__(self):
                return 5

            def __getitem__(self, i):
                if i == 3:
                    raise ValueError("bad item")
                return i

        ds = lib.utils.data.TensorDataset(lib.arange(10))
        scope = {"ds": ds, "stream": Stream(), "bad": Bad(), "math": math}
        names = {"zeros": lib.zeros, "arange": lib.arange, **vars(lib.utils.data)}
        return outcome(lambda: eval(expression, {**names, **scope}))

    twice(go)

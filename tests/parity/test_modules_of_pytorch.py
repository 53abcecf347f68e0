"""Samplers, trees, old names of init: the same as PyTorch's."""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.utils import _pytree as trees  # noqa: E402

their_trees = pytest.importorskip("torch.utils._pytree")
SIZES = [(5, 2), (0, 1), (1, 3), (7, 7), (10, 3), (23, 4), (8, 2), (2, 5), (64, 6), (3, 1), (9, 8)]


@pytest.mark.parametrize("n,ranks", SIZES)
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_distributed_sampler(n, ranks, shuffle, drop_last):
    for rank in range(ranks):
        pair = [
            lib.utils.data.distributed.DistributedSampler(
                range(n), ranks, rank, shuffle=shuffle, seed=3, drop_last=drop_last
            )
            for lib in (tg, torch)
        ]
        for epoch in (0, 1, 5):
            for sampler in pair:
                sampler.set_epoch(epoch)
            if n == 0:  # PyTorch divides by 0
                assert list(pair[0]) == []
                continue
            try:
                expected = list(pair[1])
            except AssertionError:  # PyTorch's own check of fewer examples than ranks
                continue
            assert list(pair[0]) == expected and len(pair[0]) == len(pair[1])


@pytest.mark.parametrize("rank", [-1, 2, 5])
def test_distributed_sampler_refuses_a_rank(rank):
    for lib in (tg, torch):
        with pytest.raises(ValueError, match=f"Invalid rank {rank}, rank should be"):
            lib.utils.data.DistributedSampler(range(3), num_replicas=2, rank=rank)


def test_distributed_sampler_asks_the_group():
    for lib in (tg, torch):
        with pytest.raises(ValueError, match="Default process group has not been initialized"):
            lib.utils.data.DistributedSampler(range(3))


Point = namedtuple("Point", "x y")
TREES = [
    1, None, [], (), {}, [1, (2, {"b": 3, "a": [4, None]})], Point(1, [2, 3]), {"z": 1, "a": 2},
    OrderedDict(b=1, a=(2,)), defaultdict(list, k=[1, 2]), deque([1, [2]], maxlen=3), "text",
    [[[[1]]], [[]]], {"x": {"y": {"z": (1, 2)}}},
]  # fmt: skip


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_trees(tree):
    leaves, spec = trees.tree_flatten(tree)
    assert leaves == their_trees.tree_flatten(tree)[0] == trees.tree_leaves(tree)
    again = trees.tree_unflatten(leaves, spec)
    assert again == tree and type(again) is type(tree)
    assert spec == trees.tree_structure(tree) and spec.num_leaves == len(leaves)

    def doubled(x):
        return x if x is None else x * 2

    assert trees.tree_map(doubled, tree) == their_trees.tree_map(doubled, tree)
    assert trees.tree_map(lambda a, b: (a, b), tree, tree) == their_trees.tree_map(
        lambda a, b: (a, b), tree, tree
    )
    assert trees.tree_map_only(int, lambda x: -x, tree) == their_trees.tree_map_only(
        int, lambda x: -x, tree
    )
    assert trees.tree_any(lambda x: x == 2, tree) == their_trees.tree_any(lambda x: x == 2, tree)


@pytest.mark.parametrize("other", [[1], [1, 2, 3], (1, 2), {"a": 1}, 5])
def test_trees_of_other_shapes_are_refused(other):
    with pytest.raises(ValueError):
        their_trees.tree_map(lambda a, b: a, [1, 2], other)
    with pytest.raises(ValueError, match="mismatch"):
        trees.tree_map(lambda a, b: a, [1, 2], other)
    with pytest.raises(ValueError, match="holds 2 items"):
        trees.tree_unflatten([1], trees.tree_structure([1, 2]))


@pytest.mark.parametrize("name", tg.nn.init._OLD)
def test_old_names_of_init(name):
    arguments = {"constant": (0.5,), "sparse": (0.5,)}.get(name, ())
    shape = (4, 2, 3) if name == "dirac" else (4, 6)
    texts, values = [], []
    for lib in (tg, torch):
        lib.manual_seed(1)
        w = lib.zeros(shape)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            getattr(lib.nn.init, name)(w, *arguments)
        texts.append([(str(w.message), w.category) for w in caught])
        values.append(w)
    assert texts[0] == texts[1]
    assert abs(values[0].numpy() - values[1].numpy()).max() < 1e-5

"""Trees of tuples, lists and dicts: take their leaves, change them, put them together again.

A leaf is everything that is not one of these containers. Dicts keep their order, as in PyTorch.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

__all__ = [
    "PyTree",
    "TreeSpec",
    "register_pytree_node",
    "tree_all",
    "tree_any",
    "tree_flatten",
    "tree_iter",
    "tree_leaves",
    "tree_map",
    "tree_map_",
    "tree_map_only",
    "tree_structure",
    "tree_unflatten",
]

PyTree = Any
IsLeaf = Callable[[Any], bool]


class Node(NamedTuple):
    """How a kind of container is taken apart, flatten(x) -> (children, context), and made again."""

    flatten: Callable[[Any], tuple[list[Any], Any]]
    unflatten: Callable[[Iterable[Any], Any], Any]


def _dict(kind: type) -> Node:
    return Node(
        lambda d: (list(d.values()), list(d)),
        lambda values, keys: kind(zip(keys, values, strict=True)),
    )


_NODES: dict[type, Node] = {
    tuple: Node(lambda x: (list(x), None), lambda values, _: tuple(values)),
    list: Node(lambda x: (x, None), lambda values, _: list(values)),
    dict: _dict(dict),
    OrderedDict: _dict(OrderedDict),
    defaultdict: Node(
        lambda d: (list(d.values()), (d.default_factory, list(d))),
        lambda values, about: defaultdict(about[0], zip(about[1], values, strict=True)),
    ),
    deque: Node(lambda d: (list(d), d.maxlen), lambda values, length: deque(values, length)),
}
_NAMED_TUPLE = Node(lambda x: (list(x), type(x)), lambda values, kind: kind(*values))


def register_pytree_node(
    cls: type, flatten_fn: Callable[..., Any], unflatten_fn: Callable[..., Any], **options: Any
) -> None:
    """Make cls a container: flatten_fn(x) -> (children, context), unflatten_fn(children, context).

    Raises: ValueError if it is one already.
    """
    if cls in _NODES:
        raise ValueError(f"{cls} is already registered as pytree node")
    _NODES[cls] = Node(flatten_fn, unflatten_fn)


def _node(tree: Any) -> tuple[Any, Node | None]:
    """The kind of container and how to take it apart; (None, None) for a leaf."""
    kind = type(tree)
    if kind in _NODES:
        return kind, _NODES[kind]
    if isinstance(tree, tuple) and hasattr(kind, "_fields"):
        return kind, _NAMED_TUPLE
    return None, None


class TreeSpec:
    """The shape of a tree, without its leaves: its kind of container, and the specs within."""

    def __init__(self, type: Any, context: Any, children_specs: list[TreeSpec]) -> None:
        self.type, self.context, self.children_specs = type, context, children_specs
        self.num_nodes: int = 1 + sum(c.num_nodes for c in children_specs)
        self.num_leaves: int = 1 if type is None else sum(c.num_leaves for c in children_specs)
        self.num_children = len(children_specs)

    def is_leaf(self) -> bool:
        """Whether it is a leaf's."""
        return self.type is None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeSpec) and (
            (self.type, self.context, self.children_specs)
            == (other.type, other.context, other.children_specs)
        )

    def __hash__(self) -> int:
        return hash((self.type, self.num_leaves, self.num_nodes))

    def __repr__(self) -> str:
        if self.is_leaf():
            return "*"
        return f"TreeSpec({self.type.__name__}, {self.context}, {self.children_specs})"


def tree_flatten(tree: PyTree, is_leaf: IsLeaf | None = None) -> tuple[list[Any], TreeSpec]:
    """(leaves from left to right, the tree's spec). is_leaf(x) True stops at x."""
    leaves: list[Any] = []

    def visit(tree: Any) -> TreeSpec:
        kind, node = _node(tree)
        if node is None or (is_leaf is not None and is_leaf(tree)):
            leaves.append(tree)
            return TreeSpec(None, None, [])
        children, context = node.flatten(tree)
        return TreeSpec(kind, context, [visit(child) for child in children])

    spec = visit(tree)
    return leaves, spec


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """The tree of a spec with these leaves.

    Raises: TypeError if treespec is not a TreeSpec, ValueError for another number of leaves.
    """
    if not isinstance(treespec, TreeSpec):
        raise TypeError(
            f"tree_unflatten(leaves, treespec): Expected `treespec` to be instance of TreeSpec but "
            f"got item of type {type(treespec)}."
        )
    given = list(leaves)
    if len(given) != treespec.num_leaves:
        raise ValueError(
            f"treespec.unflatten(leaves): `leaves` has length {len(given)} but the spec refers to "
            f"a pytree that holds {treespec.num_leaves} items ({treespec})."
        )
    left = iter(given)

    def build(spec: TreeSpec) -> Any:
        if spec.is_leaf():
            return next(left)
        node = _NODES.get(spec.type, _NAMED_TUPLE)
        return node.unflatten([build(child) for child in spec.children_specs], spec.context)

    return build(treespec)


def tree_leaves(tree: PyTree, is_leaf: IsLeaf | None = None) -> list[Any]:
    """The leaves from left to right."""
    return tree_flatten(tree, is_leaf)[0]


def tree_iter(tree: PyTree, is_leaf: IsLeaf | None = None) -> Iterable[Any]:
    """An iterator over the leaves."""
    return iter(tree_leaves(tree, is_leaf))


def tree_structure(tree: PyTree, is_leaf: IsLeaf | None = None) -> TreeSpec:
    """The tree's spec."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(
    func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf | None = None
) -> PyTree:
    """A tree with func(leaf, ...) in place of each leaf; further trees have the same shape.

    Raises: ValueError if a further tree has another shape.
    """
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [_as(spec, rest, is_leaf) for rest in rests]
    return tree_unflatten([func(*each) for each in zip(leaves, *others, strict=True)], spec)


def _as(spec: TreeSpec, tree: PyTree, is_leaf: IsLeaf | None) -> list[Any]:
    """The leaves of a tree that has the spec given; below its leaves anything may hang."""

    def visit(spec: TreeSpec, tree: Any) -> list[Any]:
        if spec.is_leaf():
            return [tree]
        kind, node = _node(tree)
        children, context = node.flatten(tree) if node is not None else ([], None)
        if kind is not spec.type or len(children) != spec.num_children:
            raise ValueError(f"Node type mismatch; expected {spec.type}, but got {type(tree)}.")
        if kind in (dict, OrderedDict) and context != spec.context:  # keys in another order
            if set(tree) != set(spec.context):
                raise ValueError(
                    f"Node keys mismatch: expected {spec.context}, but got {list(tree)}"
                )
            children = [tree[key] for key in spec.context]
        elif context != spec.context:
            raise ValueError(f"Node context mismatch: {context} and {spec.context}")
        return [leaf for s, c in zip(spec.children_specs, children, strict=True)
                for leaf in visit(s, c)]  # fmt: skip

    return visit(spec, tree)


def tree_map_(
    func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf | None = None
) -> PyTree:
    """Call func on each leaf for what it changes; returns the tree itself."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only(kind: Any, func: Any, tree: PyTree, is_leaf: IsLeaf | None = None) -> PyTree:
    """tree_map for the leaves of a type, several types in a tuple, or those where kind(leaf)."""
    chosen = (
        kind if not isinstance(kind, type | tuple) and callable(kind)
        else lambda leaf: isinstance(leaf, kind)
    )  # fmt: skip
    return tree_map(lambda leaf: func(leaf) if chosen(leaf) else leaf, tree, is_leaf=is_leaf)


def tree_all(pred: IsLeaf, tree: PyTree, is_leaf: IsLeaf | None = None) -> bool:
    """Whether pred holds for every leaf."""
    return all(pred(leaf) for leaf in tree_leaves(tree, is_leaf))


def tree_any(pred: IsLeaf, tree: PyTree, is_leaf: IsLeaf | None = None) -> bool:
    """Whether pred holds for a leaf."""
    return any(pred(leaf) for leaf in tree_leaves(tree, is_leaf))

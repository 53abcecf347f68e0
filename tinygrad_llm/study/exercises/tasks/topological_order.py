"""The order of backward: every node after all the nodes that it was made from.

A node may pass its gradient on only when all of it has arrived, from every node that used it. So
backward follows a topological order from its end. Write the order for graphs like
a; b = a + a; c = b + b, in which nodes are shared, and for chains of 100,000 nodes: without
recursion, and visiting every node once.
"""


class Node:
    """A number's place in a graph: the nodes it was made from, and its gradient."""

    def __init__(self, *inputs):
        self.inputs, self.grad = inputs, 0.0


def topological_order(root):
    """The nodes that root was made from, and root: a list, each after all of its inputs."""
    # >>> go down from root with a list as a stack; append a node when its inputs are in
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, inputs_are_in = stack.pop()
        if inputs_are_in:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((x, False) for x in node.inputs)
    return order
    # <<<

"""Accumulation: a number that is used twice gets two gradients, and they add up.

A tiny engine on single numbers. Every Number has its inputs, and its derivative with respect to
each of them; a newer Number has a larger order. Write backward for it: x + x must give 2, a second
backward adds to .grad of the leaves, and a Number in the middle passes on each gradient once.
"""

import itertools

clock = itertools.count()


class Number:
    """A number that remembers its inputs and ∂number/∂input of each."""

    def __init__(self, value, inputs=(), derivatives=()):
        self.value, self.inputs, self.derivatives = value, inputs, derivatives
        self.order, self.grad = next(clock), 0.0

    def __add__(self, other):
        return Number(self.value + other.value, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return Number(self.value * other.value, (self, other), (other.value, self.value))


def backward(root):
    """Add ∂root/∂leaf to .grad of every leaf (a Number without inputs) that root was made from."""
    # >>> keep what has arrived for each Number; take the newest; add, do not overwrite
    arrived = {root: 1.0}
    while arrived:
        number = max(arrived, key=lambda n: n.order)
        g = arrived.pop(number)
        if not number.inputs:
            number.grad += g
        for x, derivative in zip(number.inputs, number.derivatives):  # noqa: B905
            arrived[x] = arrived.get(x, 0.0) + g * derivative
    # <<<

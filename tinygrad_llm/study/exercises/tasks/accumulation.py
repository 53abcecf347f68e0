"""Accumulation: what is used twice gets two gradients, and they add up.

A tiny engine on single numbers. Every Number knows what it was made from and the slope to each
input; Number.order says which is newer. Write backward for it: x + x must give 2, a second
backward adds to .grad of the leaves, and a Number in the middle passes on each gradient once.
"""

import itertools

clock = itertools.count()


class Number:
    """A number that remembers its inputs and ∂number/∂input of each."""

    def __init__(self, value, inputs=(), slopes=()):
        self.value, self.inputs, self.slopes = value, inputs, slopes
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
        for x, slope in zip(number.inputs, number.slopes):  # noqa: B905
            arrived[x] = arrived.get(x, 0.0) + g * slope
    # <<<

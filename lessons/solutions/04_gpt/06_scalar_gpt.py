# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: a GPT out of single numbers
#
# ## 1. Operations of a linear layer
# Each of the m outputs has n products and n − 1 additions, and one more addition for the bias: 2·n·m together,
# exactly. Without a bias it is m less, and nobody counts that.

# %%
import math
import random

import tinygrad_llm as tl
import tinygrad_llm.nn.functional as F


class Number:
    def __init__(self, value, inputs=(), derivatives=()):
        self.value, self.grad = value, 0.0
        self.inputs, self.derivatives = inputs, derivatives

    def __add__(self, other):
        counted["+"] += 1
        return Number(self.value + other.value, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        counted["·"] += 1
        return Number(self.value * other.value, (self, other), (other.value, self.value))

    def exp(self):
        e = math.exp(self.value)
        return Number(e, (self,), (e,))

    def inverse(self):
        return Number(1 / self.value, (self,), (-1 / self.value**2,))

    def backward(self):
        order, stack = [], [(self, False)]
        done = set()
        while stack:
            node, inputs_done = stack.pop()
            if inputs_done:
                order.append(node)
            elif node not in done:
                done.add(node)
                stack.append((node, True))
                stack.extend((x, False) for x in node.inputs)
        self.grad = 1.0
        for node in reversed(order):
            for x, derivative in zip(node.inputs, node.derivatives):
                x.grad += node.grad * derivative


def total(numbers):
    first, *others = numbers
    for x in others:
        first = first + x
    return first


def dot(x, y):
    return total(p * q for p, q in zip(x, y))


counted = {"+": 0, "·": 0}
rng = random.Random(1)
n, m = 7, 5


def random_vector(size):
    return [Number(rng.gauss(0, 1)) for _ in range(size)]


x, weight, bias = random_vector(n), [random_vector(n) for _ in range(m)], random_vector(m)
y = [dot(x, row) + b for row, b in zip(weight, bias)]
print(counted, "and 2·n·m =", 2 * n * m)
assert counted["·"] == n * m and counted["+"] == n * m and sum(counted.values()) == 2 * n * m

# %% [markdown]
# ## 2. The largest score as part of the graph
# No gradient changes. Softmax gives the same for x and x − c with any c, so the derivative with respect to c is
# zero: what arrives at c from all the places where it is subtracted sums to zero, up to rounding. So it may be
# left out of the graph.

# %%
def softmax(scores, in_graph):
    largest = max(scores, key=lambda p: p.value)
    shift = largest if in_graph else Number(largest.value)
    powers = [(p + shift * Number(-1.0)).exp() for p in scores]
    share = total(powers).inverse()
    return [e * share for e in powers]


gradients = []
for in_graph in (False, True):
    scores = [Number(v) for v in (2.0, -1.0, 0.5)]
    p = softmax(scores, in_graph)
    dot(p, [Number(v) for v in (0.3, -2.0, 1.0)]).backward()
    gradients.append([s.grad for s in scores])
print(gradients[0], gradients[1])
assert all(abs(a - b) < 1e-12 for a, b in zip(*gradients))

# %% [markdown]
# ## 3. A shared table
# Nothing in `backward`: it adds what arrives, and two kinds of gradients arrive at a shared number, from the
# look-up and from the output. But `all` must list each number once. A number in the list twice would be moved
# twice by the optimizer. The model has V·C = 17·8 = 136 parameters less: 1,104 in place of 1,240.

# %%
V, C = 6, 4
table = [random_vector(C) for _ in range(V)]
token = 2
scores = [dot(table[token], row) for row in table]  # look-up and output with one table
p = softmax(scores, False)
p[3].backward()
as_tensor = tl.tensor([[q.value for q in row] for row in table], dtype=tl.float64, requires_grad=True)
tl.softmax(F.embedding(tl.tensor([token]), as_tensor) @ as_tensor.T, dim=-1)[0, 3].backward()
by_hand = tl.tensor([[q.grad for q in row] for row in table], dtype=tl.float64)
print("largest difference from the tensors' gradient:", (as_tensor.grad - by_hand).abs().max().item())
assert (as_tensor.grad - by_hand).abs().max().item() < 1e-12
listed = [q for row in table for q in row] + [q for row in table for q in row]  # what `all` would list
assert len({id(q) for q in listed}) == len(listed) // 2 == V * C
assert 1240 - 17 * 8 == 1104

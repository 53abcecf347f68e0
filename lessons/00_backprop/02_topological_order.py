# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Why the order matters
#
# **Question.** Backward visits every step. In which order?
#
# **For example.** In b = a + a, c = b + b, two gradients of 1 arrive at b: together 2. If b passed on the
# first 1 as soon as it came and then the 2, a would get the wrong sum.
#
# Take  a,  b = a + a,  c = b + b.  By hand c = 4·a, so ∂c/∂a = 4.
#
# A step may pass its gradient on only when *all* of it has arrived. b gets two gradients from c, so it
# must wait for both. An order in which every step comes after all steps that used its output is a
# **topological order** (of the backward pass). There is a very cheap one: *newest first*. A step can
# only use what already exists, so every step that used b is newer than b.
#
# **You need.** Lesson 1 (a tape).

# %%
import heapq

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.autograd.engine import backward_steps
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand, wrong
# Almost everyone's first idea is recursion: whenever a gradient arrives at a node, pass it on. The
# numbers are right if each node passes on only the *new* part. But this follows every path, and there
# are 2ⁿ paths through n additions. Passing on the *whole* gradient each time is wrong as well:

# %%
class Node:
    def __init__(self, *inputs):
        self.inputs, self.grad = inputs, 0.0


def pass_on_too_early(node, g):
    node.grad += g
    for child in node.inputs:
        pass_on_too_early(child, node.grad)  # the whole sum, although more may arrive


a = Node()
b = Node(a, a)
c = Node(b, b)
pass_on_too_early(c, 1.0)
print("passed on too early: ∂c/∂a =", a.grad, "(it should be 4)")
assert a.grad != 4.0

# %%
visits = 0


def every_path(node, g):
    global visits
    visits += 1
    node.grad += g
    for child in node.inputs:
        every_path(child, g)


visits_every_path = []
for depth in range(1, 15):
    leaf = node = Node()
    for _ in range(depth):
        node = Node(node, node)
    visits = 0
    every_path(node, 1.0)
    assert leaf.grad == 2.0**depth
    visits_every_path.append(visits)
print("visits at depth 14:", visits_every_path[-1])

# %% [markdown]
# ## By hand, right
# A heap returns the newest node that has a gradient. Each node is visited once.

# %%
class Stamped:
    clock = 0

    def __init__(self, *inputs):
        Stamped.clock += 1
        self.order, self.inputs, self.grad = Stamped.clock, inputs, 0.0


def newest_first(root):
    root.grad, waiting, seen, visits = 1.0, [(-root.order, root)], {root}, 0
    while waiting:
        _, node = heapq.heappop(waiting)
        visits += 1
        for child in node.inputs:
            child.grad += node.grad
            if child not in seen:
                seen.add(child)
                heapq.heappush(waiting, (-child.order, child))
    return visits


visits_newest_first = []
for depth in range(1, 15):
    leaf = node = Stamped()
    for _ in range(depth):
        node = Stamped(node, node)
    visits_newest_first.append(newest_first(node))
    assert leaf.grad == 2.0**depth
print("visits at depth 14, newest first:", visits_newest_first[-1])
assert visits_newest_first[-1] == 15

# %% [markdown]
# ## With the package
# `backward()` runs the generator `backward_steps` to its end. Here we take its steps ourselves and
# print them.

# %%
a = torch.tensor(1.0, requires_grad=True)
b = a + a
c = b + b
for op, arriving, leaving in backward_steps(c):
    print(f"{op.name} number {op.order}: {float(arriving)} arrives, {[float(g) for g in leaving]} leave")
assert a.grad.item() == 4.0

# %% [markdown]
# There is no recursion, so a chain of 20,000 additions works:

# %%
x = torch.tensor(1.0, requires_grad=True)
y = x
for _ in range(20_000):
    y = y + 1.0
y.backward()
assert x.grad.item() == 1.0

figure, axis = plt.subplots(figsize=(6, 4))
axis.semilogy(range(1, 15), visits_every_path, "o-", label="every path: 2ⁿ⁺¹ − 1")
axis.semilogy(range(1, 15), visits_newest_first, "s-", label="newest first: n + 1")
axis.set_xlabel("n, the number of additions b = a + a"), axis.set_ylabel("steps of backward")
axis.legend()
save_plot(figure, "02_topological_order")

# %% [markdown]
# ## Break it
# Oldest first instead of newest first: `a` is visited before any gradient has arrived.

# %%
def oldest_first(nodes, root):
    root.grad = 1.0
    for node in sorted(nodes, key=lambda n: n.order):
        for child in node.inputs:
            child.grad += node.grad


a = Stamped()
b = Stamped(a, a)
c = Stamped(b, b)
oldest_first([a, b, c], c)
print("oldest first: ∂c/∂a =", a.grad)
assert a.grad == 0.0

# %% [markdown]
# ## Exercises
# 1. Write `topological(root)` with a list instead of a heap: go through the nodes with an explicit
#    stack, and append a node when all its inputs have been appended. Reverse the list, and compare with
#    newest first.
# 2. `every_path` visits 2ⁿ⁺¹ − 1 nodes in a chain of n additions b = a + a. How many does it visit in a chain
#    of n steps b = −a, where each step has one input? What makes the difference?
#
# More: `tinygrad-llm exercise start topological_order`.
#
# Solutions: `lessons/solutions/00_backprop/02_topological_order.py`

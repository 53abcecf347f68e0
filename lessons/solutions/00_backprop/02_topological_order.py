# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: the order of the backward pass
#
# ## 1. A list in place of a heap
# A node goes to the list after all its inputs. The stack holds pairs: a node, and whether its inputs are done.
# In the reversed list each node stands before everything that it used. There may be several such orders, and
# each of them gives the same gradients.

# %%
import heapq


class Node:
    clock = 0

    def __init__(self, *inputs):
        Node.clock += 1
        self.order, self.inputs, self.grad = Node.clock, inputs, 0.0


def topological(root):
    done, result, stack = set(), [], [(root, False)]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            result.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack.extend((child, False) for child in node.inputs)
    return result[::-1]


def pass_on(nodes, root):
    """Each node of the list passes its whole gradient to its inputs."""
    for node in nodes:
        node.grad = 0.0
    root.grad = 1.0
    for node in nodes:
        for child in node.inputs:
            child.grad += node.grad


def newest_first(root):
    waiting, seen, result = [(-root.order, root)], {root}, []
    while waiting:
        _, node = heapq.heappop(waiting)
        result.append(node)
        for child in node.inputs:
            if child not in seen:
                seen.add(child)
                heapq.heappush(waiting, (-child.order, child))
    return result


a = Node()
b = Node(a, a)
c = Node(b, b)
side = Node(a, c)
root = Node(side, b)
expected = 1 + 2 + 4  # through side, through b, through side and c
for nodes in (topological(root), newest_first(root)):
    pass_on(nodes, root)
    print([node.order for node in nodes], "∂root/∂a =", a.grad)
    assert a.grad == expected
    places = {node: i for i, node in enumerate(nodes)}
    assert all(places[node] < places[child] for node in nodes for child in node.inputs)

deep = Node()
for _ in range(20_000):
    deep = Node(deep)
assert len(topological(deep)) == 20_001  # no recursion, so no limit of depth

# %% [markdown]
# ## 2. One input each
# Then there is one path, and `every_path` visits n + 1 nodes. The number of paths doubles only where a node is
# used twice. That is why recursion over paths passes small tests, and becomes hopeless in a real model, in
# which every block adds its input to its output: 12 blocks with two shortcuts each have 2²⁴ paths.

# %%
def visits(node):
    return 1 + sum(visits(child) for child in node.inputs)


chain, doubled = Node(), Node()
for _ in range(12):
    chain, doubled = Node(chain), Node(doubled, doubled)
print("one input:", visits(chain), "visits; the same input twice:", visits(doubled))
assert visits(chain) == 13 and visits(doubled) == 2**13 - 1

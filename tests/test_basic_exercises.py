"""Wrong answers to the exercises on the engine and first layers: each is named as what it is."""

from __future__ import annotations

import pytest
from test_layer_exercises import WRONG as WRONG_ON_LAYERS
from test_layer_exercises import check_message

from tinygrad_llm.study.exercises import exercises

# exercise: (a text of the solution, what a learner wrote instead, words of the message)
WRONG = {
    "topological_order": [
        ("for x in node.inputs)", "for x in node.inputs[:1])", "2 nodes, should be 6"),
        (
            "stack.append((node, True))\n            stack.extend((x, False) for x in node.inputs)",
            "stack.extend((x, False) for x in node.inputs)\n            order.append(node)",
            "before one of its inputs",
        ),
        ("    return order", "    return order[::-1]", "before one of its inputs"),
        ("    return order", "    return order[:-1]", "and root"),
    ],
    "accumulation": [
        ("arrived.get(x, 0.0) + g * derivative", "g * derivative", "add them"),
        ("number.grad += g", "number.grad = g", "+=, not ="),
        ("(other.value, self.value)", "(self.value, other.value)", "should be 200"),
    ],
    "no_grad": [
        ("recording = self.before", "recording = True", "turned recording on"),
        (
            "recording = self.before",
            "recording = self.before\n        return True",
            "must not return True",
        ),
        (
            "self.before, recording = recording, False",
            "self.before = recording",
            "should be [1, 3]",
        ),
    ],
    "unbroadcast": [
        (
            "g.sum(axis=grown, keepdims=True)",
            "g.sum(axis=grown)",
            "shape (2, 4), should be (2, 1, 4)",
        ),
        ("g.sum(axis=grown, keepdims=True)", "g", "should be (2, 1, 4)"),
        (
            "    g = g.sum(axis=tuple(range(g.ndim - len(shape))))",
            "    g = g.mean(axis=tuple(range(g.ndim - len(shape))))",
            "13, should be 78",
        ),
    ],
    "linear_layer": [
        ("self.weight.T + self.bias", "self.weight.T", "forward at"),
        (
            "torch.rand(out_features, in_features)",
            "torch.rand(in_features, out_features)",
            "size mismatch for weight",
        ),
        ("x @ self.weight.T + self.bias", "(x + self.bias.sum()) @ self.weight.T", "forward at"),
    ],
    "embedding_layer": [
        ("return self.weight[ids]", "return self.weight[ids].detach()", "does not require grad"),
        (
            "return self.weight[ids]",
            "return self.weight[ids] * self.weight.shape[1] ** 0.5",
            "forward at",
        ),
        (
            "torch.randn(num_embeddings, embedding_dim)",
            "torch.randn(embedding_dim, num_embeddings)",
            "size mismatch for weight",
        ),
    ],
    "cross_entropy_loss": [
        ("-picked.mean()", "-picked.sum()", "neither in the numerator"),
        ("-picked.mean()", "-picked.sum() / len(targets)", "nor in the denominator"),
        ("-picked.mean()", "picked.mean()", "-6.30059, should be 6.30059"),
        (
            "torch.log_softmax(logits[kept], dim=-1)",
            "torch.log_softmax(logits[kept], dim=0)",
            "should be 6.30059",
        ),
    ],
    "layer_norm_layer": [
        (
            ".mean(-1, keepdim=True)\n        return",
            ".sum(-1, keepdim=True) / (x.shape[-1] - 1)\n        return",
            "divided by C",
        ),
        (
            "torch.sqrt(variance + self.eps)",
            "(torch.sqrt(variance) + self.eps)",
            "the gradient of x",
        ),
        (
            "mean = x.mean(-1, keepdim=True)",
            "mean = x.mean(-1, keepdim=True).detach()",
            "the gradient of x",
        ),
        ("x.mean(-1, keepdim=True)\n", "x.mean(0, keepdim=True)\n", "forward at"),
    ],
    "dropout_layer": [
        ("x * keep / (1.0 - self.p)", "x * keep", "scaled by 1/(1 − p)"),
        ("if not self.training:", "if self.training:", "in eval"),
        (">= self.p", "< self.p", "were dropped"),
        ("torch.rand(x.shape)", "torch.rand(x.shape[-1:])", "the same in every row"),
    ],
    "causal_attention": [
        ("diagonal=1", "diagonal=0", "nan"),
        (" / math.sqrt(q.shape[-1])", "", "1/√D"),
        ("torch.softmax(scores, dim=-1)", "torch.softmax(scores, dim=-2)", "over the keys"),
        ("scores = scores.masked_fill(future, -math.inf)", "pass", "must not see them"),
    ],
    "gradient_clipping": [
        ("    if norm > max_norm:\n", "    if True:\n", "below max_norm nothing changes"),
        ("** 0.5", "", "25, should be 5"),
        (
            "sum(float((g * g).sum()) for g in grads)",
            "max(float((g * g).sum()) for g in grads)",
            "4, should be 5",
        ),
        ("    return norm", "    return min(norm, max_norm)", "before clipping is returned"),
    ],
    "adamw_step": [
        ("(1.0 - beta1) * g\n", "(1.0 - beta1) * (g + decay * w)\n", "-1.72, should be -2.02"),
        ("(m / (1.0 - beta1**t))", "m", "corrected"),
        (" + eps)", ")", "ε keeps"),
        ("    w -= lr * decay * w\n", "", "-2.05, should be -2.02"),
    ],
}
EVERY = [(name, *one) for name, several in WRONG.items() for one in several]


def test_every_exercise_that_is_built_has_three_wrong_answers():
    """Of the ops, tests/test_planted.py says the same."""
    built = {e.name for e in exercises() if not e.is_op}
    assert set(WRONG) | set(WRONG_ON_LAYERS) == built and not set(WRONG) & set(WRONG_ON_LAYERS)
    assert all(len(several) >= 3 for several in WRONG.values())


@pytest.mark.parametrize("name, right, wrong, words", EVERY)
def test_a_wrong_answer_gets_a_message_that_helps(name, right, wrong, words, tmp_path):
    check_message(name, right, wrong, words, tmp_path)

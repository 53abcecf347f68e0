"""Three wrong answers to each exercise on the layers of models: each gets a message that helps."""

from __future__ import annotations

import pytest

from tinygrad_llm.study.common.layer_exercises import EXERCISES_OF
from tinygrad_llm.study.exercises import exercise
from tinygrad_llm.study.exercises.grading import grade

# exercise: (a text of the solution, what a learner wrote instead, words of the message)
WRONG = {
    "multi_head_attention": [
        ("is_causal=True", "is_causal=False", "[later tokens seen]"),
        ("is_causal=True)", "is_causal=True, scale=1.0)", "[scores not scaled]"),
        ("is_causal=True)", "is_causal=True, scale=c**-0.5)", "[scaled by the width]"),
    ],
    "grouped_query_attention": [
        ("y.repeat_interleave(h // kv, dim=1)", "y.repeat(1, h // kv, 1, 1)",
         "[key heads interleaved]"),
        ("is_causal=True", "is_causal=False", "[later tokens seen]"),
        ("is_causal=True)", "is_causal=True, scale=1.0)", "[scores not scaled]"),
        ("reshape(b, t, h + 2 * kv, self.head_dim).transpose(1, 2)",
         "reshape(b, t, self.head_dim, h + 2 * kv).permute(0, 3, 1, 2)",
         "[heads cut the wrong way]"),
    ],
    "sliding_window": [
        ("own - other >= window", "own - other > window", "one too wide"),
        ("own - other >= window", "own - other >= window - 1", "one too narrow"),
        ("torch.arange(total - n, total)", "torch.arange(n)", "the first query is token S − T"),
        ("(other > own) | ", "", "token i sees j with j ≤ i"),
    ],
    "qk_norm": [
        ("        q, k = self.q_norm(q), self.k_norm(k)\n"
         "        q, k = self.rotary(q, k, positions=torch.arange(t))\n",
         "        q, k = self.rotary(q, k, positions=torch.arange(t))\n"
         "        q, k = self.q_norm(q), self.k_norm(k)\n", "[qk-norm after the rotation]"),
        ("q, k = self.q_norm(q), self.k_norm(k)", "pass", "[qk-norm forgotten]"),
        ("q, k = self.rotary(q, k, positions=torch.arange(t))", "pass", "[not turned]"),
    ],
    "soft_cap": [
        ("torch.tanh(x / c) * c", "torch.tanh(x / c)", "c·tanh(x/c)"),
        ("torch.tanh(x / c) * c", "torch.clamp(x, -c, c)", "[cut instead of bent]"),
        ("soft_cap(scores, c).masked_fill(future, -math.inf)",
         "soft_cap(scores.masked_fill(future, -math.inf), c)", "−∞ becomes −c"),
        ("return soft_cap(self.linear(x), self.c)", "return self.linear(x)", "[cap forgotten]"),
    ],
    "cross_attention": [
        ("(self.heads(self.q(x)), k, v)", "(self.heads(self.q(x)), k, v, is_causal=True)",
         "[cross-attention is causal]"),
        ('        if cache is not None and "memory" in cache:', "        if False:",
         "computes kv again"),
        ("k, v)\n", "k, v, scale=1.0)\n", "[scores not scaled]"),
        ('cache["memory"] = k, v', "pass", "keep keys and values"),
    ],
    "contrastive_loss": [
        (" / temperature", " * temperature", "[temperature as a factor]"),
        ("c = candidates / candidates.norm(dim=-1, keepdim=True)", "a, c = anchors, candidates",
         "[not normalised]"),
        ("candidates = positives if negatives is None else torch.cat([positives, negatives])",
         "candidates = positives", "[hard negatives forgotten]"),
        ("torch.arange(len(anchors)))", "torch.arange(len(anchors)), reduction='sum')",
         "[the sum of the pairs]"),
    ],
    "binary_passage_loss": [
        ("(beta * queries).tanh(), (beta * passages).tanh()", "queries.tanh(), passages.tanh()",
         "[beta forgotten]"),
        (".clamp(min=0.0)", "", "[no floor]"),
        ("(own - scores)", "(scores - own)", "[margin with the other sign]"),
        ("scale * (queries @ h_p.T)", "scale * scores", "[bits of the query too]"),
    ],
    "policy_loss": [
        ("torch.minimum(", "torch.maximum(", "[the better of the two]"),
        ("torch.minimum(ratio * a, limited * a)", "(limited * a)",
         "[the clip without the minimum]"),
        ("return -torch.minimum(ratio * a, limited * a)", "return -(ratio * a)", "[not clipped]"),
        ("(log_p - old).exp()", "(old - log_p).exp()", "[the ratio upside down]"),
    ],
    "value_loss": [
        ("torch.maximum(", "torch.minimum(", "[the smaller of the two]"),
        ("torch.maximum((values - returns) ** 2, (near - returns) ** 2)",
         "((near - returns) ** 2)", "[only the clipped error]"),
        ("torch.maximum((values - returns) ** 2, (near - returns) ** 2)",
         "((values - returns) ** 2)", "[not clipped]"),
        ("return 0.5 * ", "return ", "[the half forgotten]"),
    ],
    "distillation_loss": [
        ('if direction == "forward"', 'if direction != "forward"', "[directions exchanged]"),
        (" * temperature**2", "", "[τ² forgotten]"),
        (".sum(-1).mean()", ".sum(-1).sum()", "[the sum of the tokens]"),
    ],
    "sinusoidal_positions": [
        ("[torch.sin(angles), torch.cos(angles)]", "[torch.cos(angles), torch.sin(angles)]",
         "[sine and cosine exchanged]"),
        ("torch.arange(0, dim, 2)", "torch.arange(0, dim // 2)", "[2 forgotten in the exponent]"),
        ("torch.stack([torch.sin(angles), torch.cos(angles)], dim=-1).reshape(len(positions), dim)",
         "torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)",
         "[sines first, then cosines]"),
    ],
    "position_bias": [
        ("return -rates", "return rates", "[near keys are punished]"),
        ("torch.arange(1, n_heads + 1)", "torch.arange(0, n_heads)", "[rates from zero]"),
        ("min(exact + int(share * (n_buckets - exact) + 1e-6), n_buckets - 1)",
         "n_buckets - 1", "far buckets grow with the logarithm"),
        ("distance, exact = max(distance, 0)", "distance, exact = abs(distance)",
         "keys behind the query share bucket 0"),
        ("distance < exact", "distance < exact // 2", "near keys have a bucket each"),
    ],
    "rotary_positions": [
        ("a * cos - b * sin, b * cos + a * sin], dim=-1)\n",
         "a * cos + b * sin, b * cos - a * sin], dim=-1)\n", "[rotation with the wrong sign]"),
        ("torch.arange(0, dim, 2).float()", "torch.arange(0, dim // 2).float()", "base^(−2j/D)"),
        ("if interleaved:", "if not interleaved:", "[layouts exchanged]"),
    ],
    "rotary_scaling": [
        ("return omega / factor\n", "return omega * factor\n", "every ω is divided"),
        ("s * omega + (1.0 - s) * omega / factor", "s * omega / factor + (1.0 - s) * omega",
         "fast and slow pairs are exchanged"),
        ("torch.clamp((turns - low) / (high - low), 0.0, 1.0)", "(turns - low) / (high - low)",
         "never outside [0, 1]"),
    ],
    "kv_cache": [
        ("diagonal=total - n + 1", "diagonal=1", "the new positions come after"),
        ("self.keys, self.values = k, v", "pass", "the new positions come after"),
        ("diagonal=total - n + 1", "diagonal=total", "is the mask causal?"),
    ],
    "window_cache": [
        ("(self.window - 1)", "self.window", "window − 1 before it"),
        ("first = self.length - n_kept", "first = 0", "tokens that were dropped count too"),
        ("k.shape[2] - (self.window - 1)", "0", "oldest that the first new token sees"),
        ("v[:, :, start:]", "k[:, :, start:]", "the values"),
    ],
    "cache_rows": [
        ("k[:, :, :n], v[:, :, :n]", "k[:, :, : n + 1], v[:, :, : n + 1]", "keeps 4"),
        ("k[:, :, :n], v[:, :, :n]", "k[:, :, -n:], v[:, :, -n:]", "the first 3 tokens stay"),
        ("[(k[indices], v[indices])", "[(k, v)", "row i becomes what row indices[i] was"),
        ("k[indices], v[indices]", "k[torch.argsort(indices)], v[torch.argsort(indices)]",
         "row i becomes what row indices[i] was"),
    ],
    "transformer_block": [
        ("x = x + self.attention(self.norm1(x))", "x = self.norm1(x + self.attention(x))",
         "x + f(norm(x)), twice"),
        ("x = x + self.attention(", "x = self.norm1(x) + self.attention(", "x + f(norm(x))"),
        ("return x + self.feed", "return self.feed", "x + f(norm(x))"),
    ],
    "norm_places": [
        ("return x + part(norm(x))", "return norm(x) + part(norm(x))",
         "[residual taken after the norm]"),
        ("return norm(x + part(x))", "return x + norm(part(x))", "[norm before the sum]"),
        ("x + after(part(norm(x)))", "after(x + part(norm(x)))", "[second norm over the sum]"),
        ("return x + part(norm(x))", "return part(norm(x))", "[residual forgotten]"),
    ],
    "feed_forward": [
        ("nn.GELU(), ", "", "GELU stands between"),
        ("nn.GELU()", "nn.ReLU()", "GELU stands between"),
        ("nn.Linear(emb_dim, 4 * emb_dim), nn.GELU(), nn.Linear(4 * emb_dim, emb_dim)",
         "nn.Linear(emb_dim, 4 * emb_dim), nn.Linear(4 * emb_dim, emb_dim), nn.GELU()",
         "and only there"),
    ],
    "gated_feed_forward": [
        ("silu(gate) * up", "silu(up) * gate", "[gate and up exchanged]"),
        ("silu(gate) * up", "silu(gate * up)", "[activation of the product]"),
        ("silu(gate) * up", "silu(gate) + up", "[sum for the product]"),
        ("2 * hidden, bias=False", "2 * hidden", "its parameters are"),
    ],
    "mixture_of_experts": [
        ("weights / weights.sum(dim=-1, keepdim=True), chosen", "weights, chosen",
         "divided by the sum of the chosen"),
        (" * weights[token, place].unsqueeze(-1)", "", "[weights not applied]"),
        ("sorted(set(chosen.flatten().tolist()))", "range(len(self.down))", "but [0, 1, 2"),
        ("self.router(x), dim=-1), self.k, dim=-1)",
         "self.router(x), dim=-1), self.k, dim=-1, largest=False)", "the largest probabilities"),
    ],
    "latent_attention": [
        ("self.kv_norm(self.kv_down(x))  # (B, T, R)", "self.kv_down(x)",
         "[latent not normalised]"),
        ("t, h, 2 * d).transpose(1, 2)  # (B, H, T, 2·D)\n"
         "        k, v = torch.split(both, d, dim=-1)",
         "t, 2 * h, d).transpose(1, 2)\n        k, v = torch.split(both, h, dim=1)",
         "[keys of all heads first]"),
        ("is_causal=True", "is_causal=False", "[later tokens seen]"),
        ("moved = q @ up[:, :d]", "moved = q @ up[:, d:]", "the same as forward"),
        ("latents.transpose(1, 2).unsqueeze(1) / d**0.5",
         "latents.transpose(1, 2).unsqueeze(1) / self.kv_rank**0.5", "the same as forward"),
    ],
    "attention_sinks": [
        ("dim=-1)[..., :-1]", "dim=-1)[..., 1:]", "each head's exp(sink) belongs to the sum"),
        ("torch.cat([scores, column], dim=-1), dim=-1)[..., :-1]", "scores, dim=-1)",
         "sum to less than 1"),
        ("(i - j < window) |", "(i - j <= window) |", "should see"),
        ("(j <= i) & (", "(j >= 0) & (", "should see"),
        ("min(keep_first, first)", "keep_first", "should be"),
    ],
    "sparse_keys": [
        ("torch.relu(q @ k.unsqueeze(1).transpose(2, 3))", "q @ k.unsqueeze(1).transpose(2, 3)",
         "relu of each head's score"),
        ("scores.masked_fill(~causal, float(\"-inf\"))", "scores", "among the keys up to its own"),
        ("1.0) > 0) & causal", "1.0) > 0)", "should be"),
        ("weights.detach().mean(dim=1)", "weights.mean(dim=1)", "p is detached"),
        ("weights.detach().mean(dim=1)", "weights.detach().sum(dim=1)", "mean over heads"),
    ],
    "differential_attention": [
        ("first - second", "first + second", "two dot products"),
        ("p[:, 0::2] - self.strength() * p[:, 1::2]",
         "p[:, :h] - self.strength() * p[:, h:]", "heads 2·i and 2·i + 1"),
        ("eps=1e-5) * (1 - self.lambda_init)", "eps=1e-5)", "times 1 − λ_init"),
        ("/ d**0.5", "/ (2 * d) ** 0.5", "divided by √D"),
    ],
    "delta_memory": [
        ("v - (state * k.unsqueeze(-1)).sum(dim=-2)", "v", "what is missing"),
        (" * torch.exp(decay).unsqueeze(-1).unsqueeze(-1)", "", "forget by exp(decay)"),
        ("missing * beta.unsqueeze(-1)", "missing", "beta·(k·q)·v"),
        ("return (self.state * q", "return (state * q", "read after writing"),
    ],
    "linear_attention": [
        ("nn.functional.elu(x) + 1.0", "nn.functional.elu(x)", "elu(x) + 1"),
        ("torch.tril(feature(q) @ feature(k).transpose(-1, -2))",
         "feature(q) @ feature(k).transpose(-1, -2)", "0 for later tokens"),
        ("return weights @ v / (weights.sum(dim=-1, keepdim=True) + 1e-6)", "return weights @ v",
         "divided by its sum"),
        ("self.total = self.total + k", "self.total = k", "S and z go on"),
        ("read / (", "read * (", "the output is its value"),
    ],
    "selective_memory": [
        ("torch.exp(step * self.A) * self.h", "self.h", "forget by exp(Δ·A) first"),
        ("step * x.unsqueeze(-1) * b", "x.unsqueeze(-1) * b", "c·b·Δ·x"),
        ("return (self.h * c", "return ((self.h - new) * c", "read after writing"),
        ("torch.exp(step * self.A)", "torch.exp(-step * self.A)", "forget by exp(Δ·A) first"),
    ],
    "crf_paths": [
        ("torch.logsumexp(alpha.unsqueeze(1) + transitions, dim=0)",
         "torch.logsumexp(alpha.unsqueeze(0) + transitions, dim=1)", "summed over the tag before"),
        ("return torch.logsumexp(alpha + end, dim=0)", "return torch.logsumexp(alpha, dim=0)",
         "one token: log Σ exp(b + e + c)"),
        ("torch.max(score.unsqueeze(1) + transitions, dim=0)",
         "torch.max(score.unsqueeze(1) + transitions.T, dim=0)", "max over the tag before"),
        ("argmax(score + end)", "argmax(score)", "should be"),
        ("for before in reversed(came_from):", "for before in came_from:", "follow the notes"),
        ("start[tags[0]] + end[tags[-1]]", "start[tags[0]]", "the end's too"),
    ],
    "expert_capacity": [
        ("torch.gather(p, 1, chosen)", "torch.gather(p + correction, 1, chosen)",
         "without the correction"),
        ("torch.topk(p + correction", "torch.topk(p", "σ(score) + correction"),
        ("    for i in range(len(chosen[0])):\n        for n, row in enumerate(chosen):\n",
         "    for n, row in enumerate(chosen):\n        for i in range(len(row)):\n",
         "all first choices come before"),
        ("(torch.logsumexp(scores, dim=-1) ** 2).mean()", "torch.logsumexp(scores, dim=-1).mean()",
         "squared"),
    ],
    "offset_rms_norm": [
        ("torch.zeros(dim)", "torch.ones(dim)", "w starts at zero"),
        ("(1.0 + self.weight)", "self.weight", "[offset forgotten]"),
        ("(x * x).mean(-1", "(x * x).sum(-1", "[sum for the mean]"),
        ("(x * x).mean(-1", "((x - x.mean(-1, keepdim=True)) ** 2).mean(-1", "[mean subtracted]"),
    ],
    "int8_layers": [
        ("dim=1, keepdim=True) / 127", "dim=1, keepdim=True) / 128", "one for each row"),
        ("torch.round(weight / self.scale)", "(weight / self.scale)", "round, do not cut"),
        (".to(torch.int8)", "", "keep them as torch.int8"),
        ("* self.rows.scale[ids]", "* self.rows.scale[0]", "pick codes and scales"),
    ],
    "chunked_loss": [
        ("(targets != ignore_index).sum()", "len(targets)", "by the targets that count"),
        ("(targets != ignore_index).sum()", "1", "divide once"),
        ("chunk):\n        rows = slice(start, start + chunk)",
         "len(targets)):\n        rows = slice(0, len(targets))", "at most 3 are allowed"),
    ],
    "tied_weights": [
        ("self.out_head.weight = self.tok_emb.weight",
         "self.out_head.weight.data = self.tok_emb.weight.data", "assign the parameter"),
        ("self.out_head.weight = self.tok_emb.weight",
         "self.out_head.weight = nn.Parameter(self.tok_emb.weight.detach())", "different objects"),
        ("self.out_head(self.body(self.tok_emb(ids)))", "self.out_head(self.tok_emb(ids))",
         "forward"),
    ],
    "lora": [
        (" * self.scaling\n        # <<<\n\n    def", "\n        # <<<\n\n    def",
         "α/r is 4 here"),
        ("torch.zeros(n_out, rank)", "torch.randn(n_out, rank)", "B starts at zero"),
        ("parameter.requires_grad = False", "pass", "what learns is"),
        ("alpha / rank", "alpha", "α/r is 4 here"),
    ],
}  # fmt: skip
EVERY = [(name, *one) for name, several in WRONG.items() for one in several]


def test_every_exercise_on_a_layer_has_three_wrong_answers():
    assert set(WRONG) == {name for names in EXERCISES_OF.values() for name in names}
    assert {name: len(several) for name, several in WRONG.items() if len(several) < 3} == {}


def check_message(name, right, wrong, words, folder):
    """The solution with `wrong` in place of `right` fails with a message that has the words."""
    solution = exercise(name).solution()
    assert right in solution
    path = folder / f"{name}.py"
    path.write_text(solution.replace(right, wrong), "utf-8")
    failed = [row["text"] for row in grade(name, path) if not row["ok"]]
    assert failed and any(words in text for text in failed), failed


@pytest.mark.parametrize("name, right, wrong, words", EVERY)
def test_a_wrong_answer_gets_a_message_that_helps(name, right, wrong, words, tmp_path):
    check_message(name, right, wrong, words, tmp_path)

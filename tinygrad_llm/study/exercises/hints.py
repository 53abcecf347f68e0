"""Hints that were written by hand: for ops that fuse several steps, and for tasks to build.

A hint describes only the next step; the last one is almost the line itself.
"""

HINTS: dict[str, tuple[str, ...]] = {
    "layer_norm": (
        "Begin with b and w. b was added to every row, so ∂L/∂b is g summed over all rows; "
        "w multiplied x̂ in every row. row_sum(a) sums over all axes but the last.",
        "What arrives at x̂ is u = g·w. If μ and σ² were constants, ∂L/∂x would be r·u: that is "
        "the first path.",
        "The second path leads through μ. If xᵢ grows by 1, μ grows by 1/C and every x̂ falls by "
        "r/C: subtract r·mean(u). Write that mean over the last axis, with keepdims.",
        "The third path leads through σ². It adds −r·x̂·mean(u·x̂): write the second mean, and "
        "multiply it by x̂.",
        "Together: r·(u − mean(u) − x̂·mean(u·x̂)). Where w was left out, u is g; return None for "
        "an input that was left out.",
    ),
    "rms_norm": (
        "∂L/∂w is the sum over all rows of g·x̂, with x̂ = x·r.",
        "What arrives at x̂ is u = g·w. With r constant, ∂L/∂x would be r·u.",
        "x is in r as well: ∂r/∂xⱼ = −r³·xⱼ/C. Every x̂ᵢ = xᵢ·r moves with it, and so "
        "−r³·x·mean(u·x) is added.",
        "Together: r·(u − x·r²·mean(u·x)).",
    ),
    "softmax": (
        "Write down ∂yᵢ/∂xⱼ for i = j, then for i ≠ j: yᵢ·(1 − yᵢ) and −yᵢ·yⱼ.",
        "∂L/∂xⱼ = Σᵢ gᵢ·∂yᵢ/∂xⱼ = gⱼ·yⱼ − yⱼ·Σᵢ gᵢ·yᵢ.",
        "One sum per row, over self.dim, with keepdims=True.",
    ),
    "log_softmax": (
        "∂yᵢ/∂xⱼ is 1 if i = j, and minus the softmax of xⱼ for every i.",
        "The softmax is exp(y): nothing else needs to be saved.",
        "g − exp(y)·Σ g, the sum over self.dim with keepdims=True.",
    ),
    "logsumexp": (
        "y is one number per row; g has the same shape, perhaps without the summed dimension.",
        "Bring g to the shape of the saved y, then it broadcasts along the row.",
        "Each x gets its share: g·exp(x − y).",
    ),
    "embedding": (
        "Row ids[n] of W was copied to place n. So g[n] belongs to row ids[n].",
        "gw[ids] += g looks right and is wrong: NumPy reads, adds and writes once for each row, "
        "so of two gradients for one row the last stays.",
        "np.add.at(gw, ids, g), or scatter_add_rows(gw, ids, rows), which is faster, add all.",
        "Then the options: divide by how often each row was read (np.bincount) if self.scaled, and "
        "zero in row self.padding_idx if there is one.",
    ),
    "dropout": (
        "The mask is saved: the same elements must be dropped.",
        "What was kept grew by self.scale, so its gradient does too. keep itself gets None.",
    ),
    "linear": (
        "Flatten the leading dimensions: as_rows(g) is (N, O), as_rows(x) is (N, I).",
        "y = x·Wᵀ. For ∂L/∂x, (N, I), there is only one product of (N, O) and (O, I).",
        "For ∂L/∂W, (O, I): each row adds the product of its g and its x; summed over rows that "
        "is gᵀ·x.",
        "b was added to each row: sum g over the rows. self.needs has two entries if there was no "
        "b.",
    ),
    "matmul": (
        "∂L/∂A has A's shape (N, K). What can be made of g (N, M) and B (K, M)'s transpose?",
        "g·Bᵀ and Aᵀ·g; .swapaxes(-1, -2) transposes the last two dimensions.",
        "Leading dimensions that were repeated are summed by the engine, since broadcasts = True. "
        "self.one_product is a faster path for A with many rows: you may leave it out only if you "
        "bring ∂L/∂B to B's shape yourself or return it with the leading dimensions.",
    ),
    "einsum": (
        "Each term of the sum is a product; the gradient of one factor is g times all the others.",
        "So it is an einsum too: terms are the output's letters and the other inputs', the result "
        "has the letters of xᵢ.",
        "Letters that only xᵢ has are missing there: broadcast along them (xp.broadcast_to).",
    ),
    "grouped_mm": (
        "groups(offs) is the list of (e, rows) for the groups that have rows: within a group this "
        "is a matrix product, and you know its backward.",
        "∂L/∂x[rows] = g[rows]·w[e]ᵀ and ∂L/∂w[e] = x[rows]ᵀ·g[rows].",
        "Begin with zeros for ∂L/∂w: a matrix that no row met keeps them. offs gets None.",
    ),
    "gated_delta_rule": (
        "Read forward's in_chunks first: S is read by the chunk's tokens and by the next chunk, so "
        "go through the chunks from the last one and carry G = ∂L/∂S′ along.",
        "Inside a chunk: ∂L/∂Δ = Pᵀ·g + L·G, then r = (1 + A)⁻ᵀ·∂L/∂Δ, then G for the chunk "
        "before. Keep r and G of each chunk: the rest needs no loop.",
        "factors(parts) computes Γ, K·Kᵀ∘Γ, P, exp(b)·Q, exp(b)·K, L and exp(b_C) again. xp.tril "
        "keeps what is on the diagonal and below it, xp.tril(…, -1) what is below.",
        "∂L/∂b: every factor with b in its exponent gives gradient·factor, with the exponent's "
        "sign; Γᵢⱼ gives it to bᵢ and takes it from bⱼ; what has b_C goes to the last token. Then "
        "∂L/∂g is the sum from the token to the chunk's end; joined(a, T) cuts the padding off.",
    ),
    "selective_scan": (
        "hₜ reaches the loss by yₜ and by hₜ₊₁. So λₜ = ∂L/∂hₜ = gₜ·cₜᵀ + aₜ₊₁·λₜ₊₁: a scan from "
        "the last token to the first. Go through the chunks from the last one and carry "
        "a·λ of the chunk's first token to the chunk before.",
        "states(…, starts[:, :, n], self.parallel) computes a and h of a chunk again; "
        "scan(ahead(a), λ[:, :, ::-1], self.parallel) turns gₜ·cₜᵀ into λ, in place.",
        "u = λ·hₜ₋₁·a is ∂L/∂(Δ·A): times A and summed over n it goes to Δ, times Δ and summed "
        "over batch and time to A. For the chunk's first token hₜ₋₁ is starts[:, :, n].",
        "Δ·x·b was written: Σₙ λ·b, times Δ for x, times x for Δ; λ·Δ·x summed over channels for "
        "b. y = Σₙ c·h: g·h summed over channels for c.",
    ),
    "crf_log_partition": (
        "Go through the tokens from the last one. p, the gradient of alpha[t], begins as "
        "g·softmax(alpha[T] + c): log Z is a logarithm of a sum, whose derivative is a softmax.",
        "alpha[t][j] is such a logarithm too, over the tag i before. w = shares(alpha[t−1][:, :, "
        "None] + A) are its derivatives; w·p[:, None, :] is the gradient of every pair (i, j).",
        "The pairs summed over j are p of the token before; summed over the batch they go to A; p "
        "itself goes to the emission of t. After the first token p, summed over the batch, is b's.",
        "Where the mask is False, the token gets 0, A gets nothing, and p stays as it is: where.",
    ),
    "conv1d": (
        "self.parts returns, for each tap, where x is read (an index) and the tap's weights. Go "
        "through the taps: each is a matrix product, and you know its backward.",
        "∂L/∂wₖ = Σ g·xₖᵀ over batch and time: _outer does it. Stack the taps along the last "
        "dimension and give it w's shape.",
        "∂L/∂x: add wₖᵀ·g into zeros of x's shape with the padding, at the index that the tap "
        "read; at the end cut the padding off.",
        "∂L/∂b is the sum of g over batch and time, if self.needs has a third entry that is True.",
    ),
    "scaled_dot_product_attention": (
        "A block is some heads, m keys, and the n queries that may see them. One more column holds "
        "−l in q_n and −d in g_n, so self.scores computes s − l, and p is its exp.",
        "∂L/∂v = pᵀ·g, where g is g_n[..., :-1]: write it to gv[:, keys]. Dropout: p here, and "
        "g·vᵀ in ∂L/∂p, get the factor keep·keep_scale, merged(keep[:, :, rows, keys]).",
        "Through softmax: ∂L/∂s = p·(∂L/∂p − d). Without dropout the product of g_n and v_1's keys "
        "is ∂L/∂p − d; with it, g_n[..., -1:] is −d.",
        "s = q·scale·kᵀ. ∂L/∂k = ∂L/∂sᵀ·q·scale, and q_n[..., :-1] contains the scale already.",
        "∂L/∂q = ∂L/∂s·k·scale, added to gq[:, :, rows] in that part's shape, since every "
        "block of keys sends one. If gm is not None, ∂L/∂s is also ∂L/∂mask: gm[:, :, rows, keys].",
    ),
    "rope": (
        "A rotation by θ is the matrix (cos −sin; sin cos). Backward multiplies by its transpose.",
        "The transpose of a rotation is the rotation by −θ: the same cos, and −sin.",
        "rotate() is there; cos and sin get None.",
    ),
    "cross_entropy": (
        "p = z/total: forward saved z = exp(x − m) and its sum, one number per row. Begin with the "
        "mean, without weights and smoothing.",
        "∂Lᵢ/∂x_i = p_i − onehot(tᵢ): subtract 1 at the target.",
        "Targets computes what the options mean: hard and soft are the parts of q, scale is 1 over "
        "the sum of the weights that count (for the mean), and arriving(g) is ∂L/∂Lᵢ, one number "
        "per row.",
        "q = hard·onehot(t) + soft·w; the gradient is arriving(g)·(p·Σ q − q). Rows that are "
        "ignored have q = 0. t and w get None.",
    ),
    "linear_cross_entropy": (
        "L is one number, and forward computed its gradients while the logits were there.",
        "What is left is the chain rule's last step: multiply each by g. None where one is None.",
        "Five inputs x, w, t, b, class_weight: t and class_weight get None.",
    ),
    "nll_loss": (
        "Only the target's log-probability is in the loss: one element per row gets a gradient.",
        "targets.hard is w_t, 0 where ignored; targets.arriving(g) is ∂L/∂Lᵢ with the mean's "
        "divisor.",
        "gx[n, tₙ] = −hard·arriving; everything else is 0.",
    ),
    "elu": (
        "Where x > 0 the derivative is 1. Elsewhere y = α·(eˣ − 1), and the −1 drops out: α·eˣ.",
        "np.where(x > 0, 1.0, α·exp(x)); take np.minimum(x, 0.0) inside exp, which may overflow.",
    ),
    "silu": (
        "x occurs twice in x·σ(x): the product rule has two terms.",
        "σ′ = σ·(1 − σ), so f′ = σ + x·σ·(1 − σ). sigmoid(x) is there.",
    ),
    "softplus": (
        "The outer 1/β and the inner β cancel: what is left is exp(βx)/(1 + exp(βx)) = σ(βx).",
        "self.options has beta (1.0) and threshold (20.0): where βx is above it, y = x, "
        "with derivative 1.",
    ),
    "logsigmoid": (
        "A chain of two: the derivative of the logarithm at σ(x), times that of σ at x.",
        "log′ is 1/σ and σ′ is σ·(1 − σ): together 1 − σ(x), which is σ(−x).",
    ),
    "gelu": (
        "x occurs twice in x·Φ(x): the product rule has two terms.",
        "f′ = Φ(x) + x·Φ′(x). Two formulas for Φ: self.options says which, approximate='tanh' or "
        "'none'.",
        "erf: Φ = (1 + erf(x/√2))/2, Φ′ = exp(−x²/2)/√(2π). tanh: Φ′ = 2Φ(1 − Φ)·c·(1 + 3a·x²).",
    ),
    "linear_gelu_linear": (
        "∂L/∂a is g·V, and u = ∂L/∂h is that times derivative, which forward saved.",
        "From there it is linear's backward twice: (g, a, V, c) and (u, x, W, b).",
        "self.needs has five entries; derivative is None if x, W and b need nothing.",
    ),
    "gated_activation": (
        "y is a product, f(a)·b: each factor's gradient is g times the other factor.",
        "∂L/∂a has f′(a) besides, by the chain rule; ∂L/∂b is g·f(a).",
        "Both are halves of one array: gx[..., :n] for a and gx[..., n:] for b.",
    ),
    "topological_order": (
        "Put a node on the list when all of its inputs are on it. The stack needs to know whether "
        "that is so: keep (node, inputs_are_in).",
        "Take a node from the stack. If you see it for the first time, push it again, marked, and "
        "push its inputs. If it is marked, its inputs are on the list, so append it.",
        "`seen` holds id(node) of those that were expanded, so that a shared node is visited once.",
    ),
    "accumulation": (
        "Keep a dict {Number: what has arrived so far}, with root: 1.0 at the beginning.",
        "Take the newest (largest order) out of it: no newer number can send it a gradient.",
        "For each input: arrived[x] = arrived.get(x, 0.0) + g·derivative. For a leaf: grad += g.",
    ),
    "unbroadcast": (
        "g.ndim − len(shape) dimensions were put in front: sum over them.",
        "Then sum over each dimension whose size in `shape` is 1, with keepdims=True.",
    ),
    "no_grad": (
        "`global recording` at the top of both methods.",
        "__enter__ stores the old value on self; __exit__ puts that back, not True.",
    ),
    "linear_layer": ("W is (out_features, in_features): forward multiplies by its transpose.",),
    "embedding_layer": ("Indexing with a tensor of ids picks rows: weight[ids].",),
    "layer_norm_layer": (
        "x.mean(-1, keepdim=True) keeps the dimension, so that x − mean broadcasts.",
        "The variance is the mean of the squared distances; √(variance + ε).",
    ),
    "dropout_layer": (
        "torch.rand(x.shape) >= self.p is True with probability 1 − p; .float() makes numbers.",
        "Not self.training: return x.",
    ),
    "feed_forward": ("nn.Linear(emb_dim, 4 * emb_dim), nn.GELU(), and back.",),
    "cross_entropy_loss": (
        "targets != ignore_index is a mask: logits[kept] are the rows that count.",
        "log_softmax, then gather(1, targets.unsqueeze(1)) picks one number per row.",
    ),
    "contrastive_loss": (
        "torch.cat([positives, negatives]) are the candidates; x / x.norm(dim=-1, keepdim=True) "
        "has length 1, so that a @ c.T are cosines.",
        "Row i's right answer is column i: the targets are torch.arange(B).",
    ),
    "binary_passage_loss": (
        "wrong = torch.arange(N) != torch.arange(B).unsqueeze(1) is a mask (B, N): margins[wrong] "
        "are those that count, (...).clamp(min=0.0) their floor.",
        "Products of codes for the margins, queries @ h_p.T for the cross-entropy: the query "
        "keeps its numbers there.",
    ),
    "policy_loss": (
        "The ratio is (log_p - old).exp(); both products are (B, T) once the advantages are "
        "advantages.unsqueeze(1).",
        "torch.minimum(plain, clipped), its negative, then the mean over each answer's tokens.",
    ),
    "value_loss": (
        "The value near the old one is old + (values - old).clamp(-clip, clip).",
        "torch.maximum of the two squared errors, the mean of all tokens, times 0.5.",
    ),
    "distillation_loss": (
        "torch.log_softmax(logits / temperature, dim=-1) of both; the teacher's is detached.",
        "KL(P, Q) is (P·(log P − log Q)).sum(-1); forward has the teacher as P, reverse as Q.",
    ),
    "causal_attention": (
        "scores[i, j] is query i with key j: q @ k.transpose(-2, -1), divided by √D.",
        "torch.triu(ones, diagonal=1) marks j > i: fill those with −∞ and take softmax over j.",
    ),
    "multi_head_attention": (
        "reshape(b, t, 3, n_heads, c // n_heads) separates q, k and v, and the heads.",
        "permute(2, 0, 3, 1, 4) brings that 3 to the front: torch.unbind returns q, k, v (B, H, T, "
        "D).",
        "After attention: transpose(1, 2), then reshape(b, t, c).",
    ),
    "transformer_block": (
        "x = x + f(norm(x)): the norm is inside the branch, and x is added as it is.",
    ),
    "kv_cache": (
        "Keys and values so far are (B, H, T, D): torch.cat(..., dim=2), and keep the result.",
        "With `total` keys and n new positions, new position i is number total − n + i and "
        "sees the keys up to itself. torch.triu(..., diagonal=total − n + 1) marks what it must "
        "not see.",
    ),
    "lora": (
        "parameter.requires_grad = False freezes; A is (rank, n_in), B is (n_out, rank), zero.",
        "(x @ A.T) @ B.T first reduces to rank numbers, then expands them: cheap.",
    ),
    "tied_weights": (
        "A parameter is an object: assign self.tok_emb.weight itself to self.out_head.weight.",
    ),
    "gradient_clipping": (
        "The sum of squares over all parameters, then one root.",
        "Multiply in place: g *= max_norm / norm.",
    ),
    "adamw_step": (
        "In place: m *= β₁, then m += (1 − β₁)·g. `m = ...` only binds the name to a new array.",
        "t counts from 1: divide by 1 − β₁**t and 1 − β₂**t.",
    ),
    "grouped_query_attention": (
        "reshape to (B, T, H + 2·KV, D) and move the heads before time; torch.split(heads, [H, KV, "
        "KV], dim=1) returns q, k, v.",
        "repeat_interleave(H // KV, dim=1) writes each key head H/KV times, one after the other: "
        "0 0 1 1. `repeat` would write 0 1 0 1, which is another model.",
    ),
    "sliding_window": (
        "Query i is token own = S − T + i. Hidden are keys j > own, and those too far back.",
        "Too far back: own − j ≥ window. Then masked_fill with −∞, softmax, product.",
    ),
    "qk_norm": (
        "The norms are over one head: nn.RMSNorm(head_dim), one for queries, one for keys.",
        "q = q_norm(q) first, then q, k = rotary(q, k, positions=torch.arange(t)).",
    ),
    "soft_cap": (
        "c·tanh(x/c): divide, bend, multiply.",
        "In attention the cap comes before the mask: tanh(−∞) would be −1, a visible key.",
    ),
    "cross_attention": (
        "q of x, kv of memory: torch.chunk(self.kv(memory), 2, dim=-1) are keys and values.",
        "Without is_causal. In a later call take k and v from cache['memory'].",
    ),
    "sinusoidal_positions": (
        "torch.arange(0, dim, 2) is 2j: base ** (−2j / C), one for each pair.",
        "torch.stack([sines, cosines], −1) is (T, C/2, 2); .reshape(T, C) puts them side by side.",
    ),
    "position_bias": (
        "torch.arange(T).unsqueeze(1) − torch.arange(T) is i − j, (T, T); rates.view(−1, 1, 1).",
        "Below exact = n_buckets / 2 the distance is the bucket. Above: log(distance/exact) / "
        "log(max_distance/exact) is the share of the other buckets, rounded down.",
    ),
    "rotary_positions": (
        "torch.arange(0, dim, 2) is 2j: base ** (−2j / D).",
        "positions.unsqueeze(1) * ω are the angles (T, D/2), which broadcast over B and H.",
        "Interleaved: a = x[..., 0::2]; torch.stack([a', b'], −1).reshape brings them back side by "
        "side. Half-split: a = x[..., :D/2]; torch.cat along the last dimension.",
    ),
    "rotary_scaling": (
        "n = original·ω/2π: fast pairs have a large n and stay as they are.",
        "torch.clamp((n − low)/(high − low), 0.0, 1.0) is s, at both ends too.",
    ),
    "norm_places": (
        "Copy the three formulas: in two of them x itself is added, in post the sum is normalised.",
    ),
    "gated_feed_forward": (
        "gate_up is (C) to (2·hidden), down is (hidden) to (C), bias=False.",
        "torch.chunk(y, 2, dim=-1) returns gate and up: silu belongs to the gate.",
    ),
    "mixture_of_experts": (
        "torch.topk returns the k largest probabilities and which experts they are; divide by "
        "weights.sum(dim=−1, keepdim=True).",
        "torch.nonzero(chosen == e, as_tuple=True) are the tokens of expert e and the place among "
        "their k: weights[token, place] are its weights.",
        "y = y.index_add(0, token, rows) adds the rows at their tokens. An expert that nobody "
        "chose must not compute.",
    ),
    "latent_attention": (
        "c = kv_norm(kv_down(x)) is all that keys and values need; kv_up(c) has 2·D numbers for "
        "each head, its key first.",
        "step: up = kv_up.weight.reshape(H, 2·D, R); up[:, :D] belongs to keys, up[:, D:] to "
        "values. Queries times up[:, :D] have R channels, as the latents do.",
        "moved @ latents.transpose(1, 2).unsqueeze(1) / D**0.5 are the scores; softmax of them "
        "times latents.unsqueeze(1), then @ up[:, D:].transpose(1, 2).",
    ),
    "attention_sinks": (
        "sinks.reshape(1, H, 1, 1).expand(B, H, T, 1) is the new column; softmax over all S + 1, "
        "then [..., :-1].",
        "i = torch.arange(n).unsqueeze(1), j = torch.arange(n): comparisons broadcast to (n, n); "
        "& and | need brackets around each comparison.",
        "kept: the window begins at max(0, n − window + 1); before it stand at most that many of "
        "the first tokens.",
    ),
    "sparse_keys": (
        "q @ k.unsqueeze(1).transpose(2, 3) is (B, H, T, S); w.transpose(1, 2).unsqueeze(−1) fits "
        "it; sum(dim=1) is over heads.",
        "torch.zeros(shape).scatter(−1, best, 1.0) > 0 marks the best; & causal takes away what "
        "topk chose among −∞.",
        "log_softmax of the hidden scores is −∞, and 0·(−∞) is NaN: fill these places with 0 "
        "afterwards, and p's zeros with 1 before the log.",
    ),
    "differential_attention": (
        "p has 2·H heads: p[:, 0::2] are the first of each pair, p[:, 1::2] the second.",
        "Softmax of the causal scores, each on its own, then the difference; the weights may be "
        "negative.",
        "rms_norm over the 2·D channels of a head, without weight, then (1 − λ_init); then join "
        "the heads.",
    ),
    "delta_memory": (
        "decay and beta are (B, H): .unsqueeze(−1).unsqueeze(−1) makes decay fit the memory.",
        "(state * k.unsqueeze(−1)).sum(dim=−2) is Sᵀ·k: what is predicted after forgetting. What "
        "is missing is v minus that.",
        "k.unsqueeze(−1) * new.unsqueeze(−2) is k·newᵀ (K, D). Read with q after writing.",
    ),
    "linear_attention": (
        "nn.functional.elu(x) + 1.0 is positive: x + 1 above zero, exp(x) below.",
        "feature(q) @ feature(k).transpose(−1, −2) are all weights, torch.tril keeps those that a "
        "token sees; weights.sum(dim=−1, keepdim=True) is what to divide by.",
        "k.unsqueeze(−1) * v.unsqueeze(−2) is k·vᵀ (D, M): add it to the state, and k to the "
        "total, before reading with q.",
    ),
    "selective_memory": (
        "delta.unsqueeze(−1) is (B, D, 1), b.unsqueeze(1) is (B, 1, N): with A (D, N) they "
        "broadcast to the shape of h.",
        "h = exp(Δ·A)·h + Δ·x·b, then (h * c.unsqueeze(1)).sum(dim=−1).",
    ),
    "crf_paths": (
        "alpha.unsqueeze(1) + transitions is (K, K): row i is the tag before, column j the tag now."
        " logsumexp over dim=0, then add emissions[t].",
        "best, before = torch.max(..., dim=0): before[j] is the tag from which the best path to j "
        "came. From the last tag, argmax(score + end), read the notes from the end.",
        "The loss is log Z minus one path's score: start, end, T emissions, T − 1 transitions.",
    ),
    "expert_capacity": (
        "torch.topk(p + correction, k, dim=−1)[1] are the experts; torch.gather(p, 1, chosen) are "
        "their p.",
        "The outer loop goes over the places among the k, the inner one over the tokens.",
        "torch.logsumexp(scores, dim=−1) ** 2, then the mean.",
    ),
    "offset_rms_norm": (
        "nn.Parameter(torch.zeros(dim)): the factor is 1 + w.",
        "(x·x).mean(−1, keepdim=True) + ε, then the root; x is divided by it.",
    ),
    "int8_layers": (
        "One scale for each row: weight.abs().amax(dim=1, keepdim=True) / 127, (O, 1).",
        "codes = torch.round(weight / scale).to(torch.int8); codes.to(torch.float32) * scale is "
        "the weight again, nearly.",
    ),
    "chunked_loss": (
        "range(0, len(targets), chunk) and slices of hidden and targets.",
        'cross_entropy(..., reduction="sum") adds up what counts; the divisor is '
        "(targets != ignore_index).sum().",
    ),
    "window_cache": (
        "What is kept belongs to the last tokens: its first position is length minus how many are "
        "kept.",
        "Return all of it with the new ones; keep only the last window − 1 for the next call. A "
        "window of 1 keeps none: compute the start of the slice, [-0:] would be everything.",
    ),
    "cache_rows": (
        "k[:, :, :n] are the first n tokens, k[indices] are the rows.",
        "Do it for keys and values of every layer: [(f(k), f(v)) for k, v in self.layers].",
    ),
}

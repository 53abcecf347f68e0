"""Hints for ops that are to be derived (`start NAME --derive`): they never state the formula.

They ask the questions that lead to it, and say what the helpers in the file compute. The formula
itself is the hint behind them, made from the op's docstring.
"""

LEADS: dict[str, tuple[str, ...]] = {
    "layer_norm": (
        "Three inputs, three tasks. b was added to every row, and w multiplied x̂ in every row: "
        "which sums over rows follow? row_sum(a) sums over all axes but the last.",
        "For x, begin with what arrives at x̂. Then ask by how many paths xᵢ reaches one "
        "x̂ⱼ = (xⱼ − μ)·r: where in it does xᵢ stand?",
        "Take one path after another, as if the rest were constant: x itself; then μ (how much "
        "does it grow if xᵢ grows by 1?); then σ², by ∂r/∂σ² = −r³/2. The paths add up.",
        "Two of the paths are means over the row, row_mean(a). Where w was left out, it is 1; "
        "return None for an input that was left out.",
    ),
    "rms_norm": (
        "w multiplied x̂ in every row: which sum over rows follows? row_sum(a) computes it.",
        "For x, begin with what arrives at x̂ = x·r. xᵢ stands in it twice: as itself, and in r.",
        "By how much does r change if xⱼ grows by 1? Every x̂ᵢ of the row moves with r: that path "
        "is a mean over the row, row_mean(a).",
    ),
    "softmax": (
        "Write down ∂yᵢ/∂xⱼ for i = j, then for i ≠ j. The sum below the fraction contains xⱼ "
        "too. Both can be written with y alone.",
        "∂L/∂xⱼ is the sum over i of gᵢ·∂yᵢ/∂xⱼ. Which part of it is the same for every j?",
        "That part is one number per row: a sum over self.dim, with keepdims=True.",
    ),
    "log_softmax": (
        "yᵢ = xᵢ − log Σ exp(x). xⱼ is the first term if i = j, and it is in the second for "
        "every i: what is the derivative of the second?",
        "Only y was saved. Which function of y is the softmax?",
        "The second term is the same for every i: sum over self.dim, with keepdims=True.",
    ),
    "logsumexp": (
        "Every x of a row reaches its y. Differentiate the logarithm, then the sum: which function "
        "of the row is the result?",
        "Write it with the saved y, without another sum.",
        "g has one number per row, perhaps without the summed dimension: bring it to the shape of "
        "the saved y, then it broadcasts along the row.",
    ),
    "embedding": (
        "Row ids[n] of W was copied to place n. Which places contain row v?",
        "gw[ids] += … looks right and is wrong: NumPy reads, adds and writes once for each row, "
        "so of two gradients for one row the last stays. np.add.at(gw, ids, …), or "
        "scatter_add_rows(gw, ids, rows), which is faster, add all.",
        "Then the options: self.scaled asks for the mean over how often a row was read "
        "(np.bincount), and row self.padding_idx gets nothing.",
    ),
    "dropout": (
        "Each element of y depends on one element of x. With which factor, where it was kept, and "
        "where it was dropped? The same elements as in forward: the mask is saved.",
    ),
    "linear": (
        "Flatten the leading dimensions: as_rows(g) is (N, O), as_rows(x) is (N, I), W is (O, I).",
        "Write one element y_no with its indices. Which y contain x_ni? Which contain W_oi, which "
        "b_o? Over which index is each sum?",
        "A sum of products over one index is a matrix product: the shapes allow only one order. "
        "self.needs has two entries if there was no b.",
    ),
    "matmul": (
        "C[n, m] = Σₖ A[n, k]·B[k, m]. Which elements of C contain A[n, k], and with which factor?",
        "The sum over them is a matrix product, and the shapes (N, K), (K, M), (N, M) allow only "
        "one order; .swapaxes(-1, -2) transposes the last two dimensions.",
        "Leading dimensions that were repeated are summed by the engine, since broadcasts = True. "
        "self.one_product is a faster path for A with many rows: you may leave it out only if you "
        "bring ∂L/∂B to B's shape yourself or return it with the leading dimensions.",
    ),
    "einsum": (
        "Each term of the sum is a product. What is the derivative of a product with respect to "
        "one factor?",
        "Write the result as a sum over letters: which letters does each array have, and which "
        "must the gradient have?",
        "A letter that no other array has is missing there: broadcast along it (xp.broadcast_to).",
    ),
    "grouped_mm": (
        "groups(offs) is the list of (e, rows) for the groups that have rows: within a group this "
        "is a matrix product. Which elements of y contain x[n, i], and which contain w[e, i, o]?",
        "Begin with zeros for ∂L/∂w: a matrix that no row met keeps them. offs gets None.",
    ),
    "gated_delta_rule": (
        "Read forward's in_chunks first: S is read by the chunk's tokens and by the next chunk, so "
        "go through the chunks from the last one and carry G = ∂L/∂S′ along.",
        "Inside a chunk go back through Y, S′, Δ, A and P: which of them contain Δ, and which S? "
        "Backward through a solution is a solution with the transposed matrix. Keep what it "
        "gives, and G of each chunk: the rest needs no loop.",
        "factors(parts) computes Γ, K·Kᵀ∘Γ, P, exp(b)·Q, exp(b)·K, L and exp(b_C) again. xp.tril "
        "keeps what is on the diagonal and below it, xp.tril(…, -1) what is below.",
        "b is in exponents only: what is the derivative of exp(b)·z, written with exp(b)·z? Γᵢⱼ "
        "has two of them, with opposite signs, and b_C is the last token's. bᵢ = g₁ + … + gᵢ, so "
        "gᵢ reaches every b from i on; joined(a, T) cuts the padding off.",
    ),
    "selective_scan": (
        "hₜ reaches the loss by yₜ and by hₜ₊₁: write λₜ = ∂L/∂hₜ as the sum of both. That is a "
        "scan from the last token to the first. Go through the chunks from the last one, and carry "
        "what λ of the chunk's first token sends to the chunk before.",
        "states(…, starts[:, :, n], self.parallel) computes a and h of a chunk again; "
        "scan(ahead(a), λ[:, :, ::-1], self.parallel) turns what arrives by yₜ into λ, in place.",
        "Then hₜ = aₜ·hₜ₋₁ + Δₜ·xₜ·bₜ, aₜ = exp(Δₜ·A), is a sum of products: derive each factor, "
        "and sum over the letters that it does not have. Δ is in two of them. For the chunk's "
        "first token hₜ₋₁ is starts[:, :, n].",
    ),
    "crf_log_partition": (
        "log Z is the logarithm of a sum of exponentials. What is its derivative with respect to "
        "one exponent? α_T[j] + c[j] is one of them.",
        "αₜ[j] is such a logarithm too, over the tag i before: go through the tokens from the last "
        "one, and carry ∂L/∂αₜ along. shares(alpha[t−1][:, :, None] + A) are the derivatives.",
        "A token has one number for every pair of tags (i, j). Which sums of it belong to the "
        "token before, to A, and to this token's emission? What gets what arrives at the first?",
        "Where the mask is False, the token gets 0, A gets nothing, and what is carried stays as "
        "it is: where.",
    ),
    "conv1d": (
        "self.parts returns, for each tap, where x is read (an index) and the tap's weights. Go "
        "through the taps: each is a matrix product, y += wₖ·xₖ.",
        "A weight is used at every time in every batch: _outer multiplies two arrays and adds "
        "these up. Stack the taps along the last dimension and give it w's shape.",
        "A number of x is read by several taps: add into zeros of x's shape with the padding, at "
        "the index that the tap read; at the end cut the padding off.",
        "b was added everywhere; self.needs has a third entry if there was one.",
    ),
    "scaled_dot_product_attention": (
        "Go back through y = p·v, p = softmax(s) and s = q·kᵀ·scale + mask, one at a time. The "
        "first and the last are matrix products. Softmax's backward needs one sum per row, over "
        "all keys, and a block has only some: show that it can be computed from g and y.",
        "A block is some heads, m keys, and the n queries that may see them. One more column holds "
        "−l in q_n and minus that sum in g_n, so the product of q_n and k_1's keys is s − l, whose "
        "exp is p. attention_blocks.weights(scores, q_n, k_1, log_sum, linear) computes p, masked, "
        "with scores = partial(self.scores, mask=mask, rows=rows, keys=keys) and linear True "
        "without softcap.",
        "gv[:, keys] and gk[:, keys] belong to this block alone. q gets a part from every block: "
        "add it to gq[:, :, rows], in that part's shape (unmerged(a, part)). What arrives at s is "
        "what a mask gets: gm[:, :, rows, keys], if gm is not None. q_n[..., :-1] contains the "
        "scale already.",
        "Dropout multiplies p by merged(keep[:, :, rows, keys])·self.keep_scale before the product "
        "with v: both gradients of that product change. self.derivative_of_cap(q_n, k, keys) is "
        "the derivative of the softcap. used, if it is not None, says which queries add anything.",
    ),
    "rope": (
        "A rotation by θ is the matrix (cos −sin; sin cos). By which matrix does the backward pass "
        "of a linear map multiply?",
        "Which rotation is that matrix? rotate() is there; cos and sin get None.",
    ),
    "cross_entropy": (
        "log p_c = x_c − l with l = log Σ exp(x). Each logit is in one separate term, and in l: "
        "what is the derivative of l? p = z/total: forward saved both.",
        "Begin with q = onehot(t). Then take any q: how often does l stand in Σ_c q_c·log p_c?",
        "Targets computes what the options mean: q = hard·onehot(t) + soft·w, scale is 1 over the "
        "sum of the weights that count (for the mean), and arriving(g) is ∂L/∂Lᵢ, one number per "
        "row. Rows that are ignored have q = 0. t and w get None.",
    ),
    "linear_cross_entropy": (
        "L is one number, and forward computed its gradients while the logits were there: they "
        "are saved. What does the chain rule do with g, which is one number too?",
        "Five inputs x, w, t, b, class_weight: t and class_weight get None.",
    ),
    "nll_loss": (
        "Which elements of row i are in its loss? All the others get 0.",
        "targets.hard is w_t, 0 where ignored; targets.arriving(g) is ∂L/∂Lᵢ with the mean's "
        "divisor.",
    ),
    "elu": (
        "Two pieces: differentiate each of them. A constant that is added drops out.",
        "np.where chooses; take np.minimum(x, 0.0) inside exp, which may overflow.",
    ),
    "silu": (
        "x occurs twice in x·σ(x): the product rule has two terms.",
        "Write σ′ with σ alone. sigmoid(x) is there.",
    ),
    "softplus": (
        "A chain of three: βx, then log(1 + exp), then the division by β. What is left of the two "
        "β, and which known function of βx is left?",
        "self.options has beta (1.0) and threshold (20.0): where βx is above it, y = x.",
    ),
    "logsigmoid": (
        "A chain of two: the derivative of the logarithm at σ(x), times that of σ at x.",
        "What is left can be written as σ of another number, which loses no digits.",
    ),
    "gelu": (
        "x occurs twice in x·Φ(x): the product rule has two terms.",
        "Two forms of Φ: self.options says which, approximate='tanh' or 'none'. What is the "
        "derivative of a distribution function? And of (1 + tanh u)/2, by the chain rule?",
    ),
    "linear_gelu_linear": (
        "Three steps in a row: which gradient does the last of them pass to the one before it?",
        "derivative is gelu′(h), saved by forward: where does it come in?",
    ),
    "gated_activation": (
        "y is a product, f(a)·b: what is the gradient of each factor? For a the chain goes on.",
        "Both are halves of one array: gx[..., :n] for a and gx[..., n:] for b.",
    ),
}  # fmt: skip

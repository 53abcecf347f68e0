"""Backward of the activations that save their derivative f′, computed from x instead.

In the exercise f′ is the learner's task: forward saves x, and these lines are the solution.
"""

from __future__ import annotations

DERIVATIVES: dict[str, tuple[str, ...]] = {
    "elu": (
        'alpha = self.options.get("alpha", 1.0)',
        "return g * np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0))).astype(g.dtype)",
    ),
    "gelu": (
        'if self.options.get("approximate", "none") == "tanh":',
        "    c, a = math.sqrt(2.0 / math.pi), 0.044715",
        "    cdf = (1.0 + np.tanh(c * (x + a * x * x * x))) * 0.5",
        "    density = 2.0 * cdf * (1.0 - cdf) * c * (1.0 + 3.0 * a * x * x)",
        "else:",
        "    cdf = (1.0 + erf(x * math.sqrt(0.5))) * 0.5",
        "    density = np.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))",
        "return g * (cdf + x * density)",
    ),
    "silu": ("s = sigmoid(x)", "return g * (s + x * s * (1.0 - s))"),
    "softplus": (
        'z = x * self.options.get("beta", 1.0)',
        'linear = z > self.options.get("threshold", 20.0)',
        "return g * np.where(linear, 1.0, sigmoid(z)).astype(g.dtype)",
    ),
    "logsigmoid": ("return g * sigmoid(-x)",),
}


def forward_that_saves_x() -> str:
    """The source of such an exercise's forward: the true one, except that it saves x."""
    return (
        "    def forward(self, x, **options):\n"
        "        y = super().forward(x, **options)\n"
        "        self.saved, self.options = (x,), options\n"
        "        return y\n"
    )

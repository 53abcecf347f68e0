"""The clipped loss of PPO and GRPO: good answers become more likely, but not too fast.

Row b of `log_p` (B, T) are the log-probabilities of the tokens of answer b, row b of `old` those
when the answer was drawn, and `advantages` (B) says how much better than expected the answer was.
The ratio of a token is exp(log_p − old). Its loss is −min(ratio·A, clip(ratio, 1 − clip, 1 +
clip)·A); the result is the mean over each answer's tokens, and then over answers. Schulman et al.
(2017), equation 7; Shao et al. (2024).
"""

import tinygrad_llm as torch


def policy_loss(log_p, old, advantages, clip=0.2):
    """The mean loss of B answers, 0-d."""
    # >>> the ratio (B, T), the two products, the smaller one, its mean with a minus
    ratio = (log_p - old).exp()
    a = advantages.unsqueeze(1)
    limited = ratio.clamp(1.0 - clip, 1.0 + clip)
    return -torch.minimum(ratio * a, limited * a).mean(1).mean()
    # <<<

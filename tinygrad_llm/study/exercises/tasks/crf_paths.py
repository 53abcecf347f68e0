"""The chain of a CRF: all paths of tags added up, and the best one found, a token at a time.

A path of tags y has the score b[y₁] + Σ e[t, yₜ] + Σ A[yₜ₋₁, yₜ] + c[y_T]. There are Kᵀ paths, but
what the tokens up to t contribute needs only K numbers, one for each tag that t may have. For the
sum these are logarithms of sums, for the best path they are maxima, with a note of where each came
from (Viterbi, 1967).
"""

import tinygrad_llm as torch


def log_partition(emissions, transitions, start, end):
    """log Σ exp(score) over all paths: emissions (T, K), A (K, K) from row to column -> ()."""
    # >>> alpha (K): of all paths up to token t that end with the tag j. logsumexp over i, twice
    alpha = start + emissions[0]
    for t in range(1, len(emissions)):
        alpha = emissions[t] + torch.logsumexp(alpha.unsqueeze(1) + transitions, dim=0)
    return torch.logsumexp(alpha + end, dim=0)
    # <<<


def best_path(emissions, transitions, start, end):
    """The tags of the path with the highest score, a list of T integers."""
    # >>> the same with max; keep the tag that each maximum came from, and follow them from the end
    score, came_from = start + emissions[0], []
    for t in range(1, len(emissions)):
        best, before = torch.max(score.unsqueeze(1) + transitions, dim=0)
        score = best + emissions[t]
        came_from.append(before.tolist())
    path = [int(torch.argmax(score + end))]
    for before in reversed(came_from):
        path.append(before[path[-1]])
    return path[::-1]
    # <<<


def loss(emissions, transitions, start, end, tags):
    """−log p(tags): how much log Z is above the score of this path. tags: a list of T integers."""
    # >>> add up the path's own score
    score = start[tags[0]] + end[tags[-1]] + emissions[0, tags[0]]
    for t in range(1, len(tags)):
        score = score + transitions[tags[t - 1], tags[t]] + emissions[t, tags[t]]
    return log_partition(emissions, transitions, start, end) - score
    # <<<

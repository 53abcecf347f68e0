"""What is wrong with a gradient: which named mistake it is, or what its pattern suggests.

    class Mine(ops.LayerNorm):
        def backward(self, g):
            ...

    for finding in diagnose("layer_norm", Mine):
        print(finding.text)

The learner's backward runs on a few calls of the op, and so do the true one and every named
mistake. If its gradients equal those of a mistake on all calls, that is the diagnosis. Otherwise
the finding names the input, the element with the largest error and the ratio, and says what the
numbers look like: a constant factor, a sign, a transpose, a missing sum, a missing mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...autograd.engine import OPS, Op
from ..common.source import input_name
from ..mistakes import MISTAKES, Mistake
from .patterns import pattern_of
from .samples import Ran, Sample, samples

__all__ = ["Finding", "diagnose"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `text` is what the learner reads."""

    kind: str  # "mistake", "pattern", "shape", "nothing", "error" or "number"
    text: str
    input: str = ""  # the input whose gradient is wrong, "" for all
    mistake: Mistake | None = None


Gradients = dict[int, np.ndarray]  # by input
Outcome = Gradients | Exception  # or what backward raised


def diagnose(name: str, attempt: type[Op]) -> list[Finding]:
    """What is wrong with an attempt at an op's backward; an empty list if nothing is.

    name     the op's name, such as "layer_norm"
    attempt  a class with the op's forward, or one that computes the same, and its own backward

    Raises: ValueError if no op has this name.
    """
    if name not in OPS:
        raise ValueError(f"no op is called {name!r}")
    calls = samples(name)
    true = [_gradients(s, OPS[name]) for s in calls]
    rans = [s.run(attempt) for s in calls]
    returned = [_returned(ran) for ran in rans]  # one backward for each forward
    if structure := _structure(name, rans, returned):
        return structure
    got = [
        r if isinstance(r, Exception) else ran.taken(r)
        for ran, r in zip(rans, returned, strict=True)
    ]
    explained = _explained(name, calls, true, got)
    if whole := _whole(explained, true, got):
        return whole
    # First the calls like the worked example: a learner who has not reached the options yet
    # should not read about them. Among these, calls that raise come last.
    plain = [n for n, call in enumerate(calls) if _kind(call) == _kind(calls[0])]
    wrong = [n for n in plain if isinstance(got[n], Exception) or _differing(got[n], true[n])]
    chosen = plain if wrong else list(range(len(calls)))
    fine = [n for n in chosen if not isinstance(got[n], Exception)]
    trues, results = [true[n] for n in fine], [got[n] for n in fine]
    explained = _explained(name, [calls[n] for n in fine], trues, results)
    findings = _whole(explained, trues, results) or _one_by_one(
        name, [rans[n] for n in fine], trues, results, explained
    )
    for n in chosen:
        if isinstance(error := got[n], Exception):
            text = f"backward raised {type(error).__name__}: {error}. The call: {calls[n]}"
            findings.append(Finding("error", text))
            break
    if findings and not wrong and findings[0].kind != "mistake":
        first = findings[0]
        text = f"Right on {len(plain)} calls like the worked example; with other options or inputs "
        findings[0] = Finding(first.kind, text + first.text, first.input)
    return findings


def _kind(call: Sample) -> tuple:
    """Which options a call has, and which inputs it leaves out."""
    left_out = tuple(i for i, x in enumerate(call.inputs) if x is None)
    return tuple(sorted(call.options)), left_out, len(call.inputs)


def _gradients(sample: Sample, op: type[Op]) -> Gradients:
    return sample.run(op).gradients()


def _returned(ran: Ran) -> list[Any] | Exception:
    """The gradients that backward returns, or the exception that it raises."""
    try:
        with np.errstate(all="ignore"):
            return ran.backward()
    except Exception as error:  # any error of the learner's code
        return error


def _outcome(ran: Ran) -> Outcome:
    returned = _returned(ran)
    return returned if isinstance(returned, Exception) else ran.taken(returned)


def close(a: Any, b: Any) -> bool:
    """Equal except for rounding; NaN equals NaN."""
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-7, atol=1e-9, equal_nan=True))


def _differing(got: Outcome, true: Gradients) -> list[int]:
    """The inputs whose gradients differ; none if backward raised."""
    if isinstance(got, Exception):
        return []
    return [i for i in true if not close(got[i], true[i])]


# -------------------------------------------------------------------------- what was returned
def _structure(name: str, rans: list[Ran], returned: list[Any]) -> list[Finding]:
    """Findings about gradients that are not arrays, too few, or all None."""
    lists = [
        (ran, r) for ran, r in zip(rans, returned, strict=True) if not isinstance(r, Exception)
    ]
    if len(lists) == len(rans) and all(g is None for _, grads in lists for g in grads):
        return [Finding("nothing", "backward returns no gradient yet (None).")]
    for ran, grads in lists:
        n_inputs = len(ran.sample.inputs)
        if any(g is not None for g in grads) and ran.grad_inputs[-1] >= len(grads):
            text = (
                f"backward returned {len(grads)} gradient{'s' * (len(grads) != 1)}, {name} has "
                f"{n_inputs} inputs: return one for each, in their order (None for one that needs "
                "none)."
            )
            return [Finding("number", text)]
        for i in ran.grad_inputs:
            g, label = grads[i] if i < len(grads) else None, input_name(OPS[name], i)
            if g is not None and not isinstance(g, np.ndarray | np.generic | float | int):
                text = f"the gradient of {label} is a {type(g).__name__}: return a NumPy array."
                return [Finding("number", text, label)]
    return []


# ------------------------------------------------------------------------------- named mistakes
# Of each mistake: the inputs that it explains, and the inputs whose gradients it gets wrong.
Explained = dict[Mistake, tuple[list[int], set[int]]]


def _explained(
    name: str, calls: list[Sample], true: list[Gradients], got: Sequence[Outcome]
) -> Explained:
    """The mistakes that produce some of the wrong gradients, on every call."""
    wrong = sorted(_wrong_inputs(got, true))
    if not wrong and not any(isinstance(g, Exception) for g in got):
        return {}
    explained: Explained = {}
    for mistake in MISTAKES[name]:
        made = [_outcome(s.run(mistake.planted())) for s in calls]
        inputs = _explains(made, true, got, wrong)
        if inputs is not None:
            explained[mistake] = inputs, _wrong_inputs(made, true)
    return explained


def _whole(explained: Explained, true: list[Gradients], got: Sequence[Outcome]) -> list[Finding]:
    """The mistake that explains all wrong gradients, if there is one."""
    wrong = sorted(_wrong_inputs(got, true))
    whole = [mistake for mistake, (inputs, _) in explained.items() if inputs == wrong]
    # A mistake that is wrong in more inputs explains less, so the one with fewest comes first.
    whole.sort(key=lambda m: len(explained[m][1]))
    return [Finding("mistake", whole[0].sentence, "", whole[0])] if whole else []


def _one_by_one(
    name: str, rans: list[Ran], true: list[Gradients], got: Sequence[Outcome], explained: Explained
) -> list[Finding]:
    """For each wrong input: the mistake that explains it, or what its numbers look like."""
    findings = []
    for i in sorted(_wrong_inputs(got, true)):
        mistake = next((m for m, (inputs, _) in explained.items() if i in inputs), None)
        if mistake is None:
            findings.append(_pattern(name, i, rans, true, got))
        else:
            label = input_name(OPS[name], i)
            findings.append(Finding("mistake", mistake.sentence, label, mistake))
    return findings


def _wrong_inputs(made: Sequence[Outcome], true: list[Gradients]) -> set[int]:
    return {i for m, t in zip(made, true, strict=True) for i in _differing(m, t)}


def _explains(
    made: Sequence[Outcome], true: list[Gradients], got: Sequence[Outcome], wrong: list[int]
) -> list[int] | None:
    """The wrong inputs whose gradients a mistake reproduces; None if only one of the two raises.

    Where both raise (two shapes that do not broadcast, say), the other calls decide.
    """
    agree = {i: False for i in wrong}
    raised = False
    for m, t, g in zip(made, true, got, strict=True):
        if isinstance(m, Exception) or isinstance(g, Exception):
            if not (isinstance(m, Exception) and isinstance(g, Exception)):
                return None
            raised = True
            continue
        for i in list(agree):
            if i not in t:
                continue
            if not close(m[i], g[i]):
                del agree[i]
            elif not close(t[i], g[i]):
                agree[i] = True
    explained = sorted(i for i, differs in agree.items() if differs)
    return explained if explained or (raised and not wrong) else None


# ----------------------------------------------------------------------------- without a name
def _pattern(
    name: str, i: int, rans: list[Ran], true: list[Gradients], got: Sequence[Outcome]
) -> Finding:
    """Where input i's gradient is wrong, by how much, and what its numbers look like."""
    label = input_name(OPS[name], i)
    pairs = [
        (ran, g[i], t[i]) for ran, g, t in zip(rans, got, true, strict=True)
        if i in t and not isinstance(g, Exception)
    ]  # fmt: skip
    ran, mine, true_gradient = max(
        (p for p in pairs if not close(p[1], p[2])), key=lambda p: (p[1].shape == p[2].shape,
                                                                   p[2].size)
    )  # fmt: skip
    if mine.shape != true_gradient.shape:
        text = (
            f"the gradient of {label} has shape {mine.shape}, {label} itself "
            f"{true_gradient.shape}: they must be equal.{pattern_of(label, ran, i, pairs)}"
        )
        return Finding("shape", text, label)
    error = np.where(np.isfinite(mine), abs(mine - true_gradient), np.inf)
    at = np.unravel_index(int(error.argmax()), error.shape)
    where = f"{label}[{', '.join(map(str, map(int, at)))}]" if at else label
    a, b = float(mine[at]), float(true_gradient[at])
    ratio = f", ratio {a / b:.6g}" if b and np.isfinite(a) else ""
    n = int((error > 1e-7 * (1.0 + abs(true_gradient))).sum())
    text = (
        f"the gradient of {label} is wrong in {n} of {error.size} elements; worst at {where}: "
        f"yours {a:.6g}, true {b:.6g}{ratio}.{pattern_of(label, ran, i, pairs)} "
        f"The call: {ran.sample}"
    )
    return Finding("pattern", text, label)

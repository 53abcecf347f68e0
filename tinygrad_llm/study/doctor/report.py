"""Everything that the doctor examines, in one report."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import machine, pieces
from .finding import SEVERITIES, Finding, guarded

__all__ = ["Report", "examine"]


@dataclass(frozen=True)
class Report:
    """The findings, in the order of their areas, and how long it took."""

    findings: list[Finding]
    seconds: float

    def count(self, severity: str) -> int:
        """How many findings have this severity."""
        return sum(f.severity == severity for f in self.findings)

    @property
    def worst(self) -> str:
        """The worst severity of all findings; "ok" if there are none."""
        return max((f.severity for f in self.findings), key=SEVERITIES.index, default="ok")

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers, texts and lists, in JSON's types."""
        return {
            "format": 1,
            "worst": self.worst,
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "seconds": round(self.seconds, 2),
            "findings": [f.as_dict() for f in self.findings],
        }


def look_at_gradients() -> list[Finding]:
    """One gradient against finite differences."""
    import numpy as np

    from ...autograd.finite_differences import gradcheck
    from ...functions.creation.from_data import tensor
    from ...functions.norm import layer_norm

    rng = np.random.default_rng(0)
    x, w, b = (
        tensor(rng.standard_normal(shape), requires_grad=True) for shape in ((2, 3), (3,), (3,))
    )
    gradcheck(lambda x, w, b: layer_norm(x, (3,), w, b), (x, w, b))
    return [Finding("Python", "gradients", "ok",
                    "tinygrad_llm: a gradient agrees with finite differences")]  # fmt: skip


def examine(environment: Mapping[str, str] | None = None) -> Report:
    """Examine everything, in a few seconds.

    environment: environment variables in place of this process's. Nothing is changed and nothing
    is downloaded. What can't be examined becomes a finding; no error is raised.
    """
    began = time.perf_counter()
    environment = dict(os.environ if environment is None else environment)
    looks: list[tuple[str, str, Any]] = [
        ("Python", "packages", pieces.look_at_packages),
        ("Python", "gradients", look_at_gradients),
        ("Machine", "machine", machine.look_at_machine),
        ("Speed", "matrix products", partial(machine.look_at_speed, environment)),
        ("Speed", "loops", pieces.look_at_loops),
        ("GPU", "gpu", pieces.look_at_gpu),
        ("GPU", "cudnn", pieces.look_at_cudnn),
        ("Tokenizers and data", "tokenizers", pieces.look_at_tokenizers),
        ("Tokenizers and data", "data folder", pieces.look_at_data),
        ("Several processes", "mpi", pieces.look_at_mpi),
        ("Several processes", "nccl", pieces.look_at_nccl),
    ]
    findings = [finding for look in looks for finding in guarded(*look)]
    return Report(findings, time.perf_counter() - began)

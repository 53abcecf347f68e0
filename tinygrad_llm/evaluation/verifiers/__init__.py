"""Verifiers: whether an answer, such as a formula in LaTeX, is equal to the expected one.

    verify("So it is \\boxed{\\dfrac{14}{3}}.", "14/3").correct          # True
    report = compare_verifiers(predictions, answers)                     # two methods, side by side

A wrong verifier is a wrong reward, so two of them judge: sympy's symbolic equality in a child
process, and the values of both formulas at points. No text is ever evaluated as a program: the
grammar (grammar.py) knows numbers, letters and the functions of a closed list, nothing else.
"""

from __future__ import annotations

from .extraction import Extracted, extract_answer, find_answer, last_boxed
from .grammar import ParseError, parse
from .latex import normalise
from .numeric import numerically_equal
from .symbolic import SymbolicJudge
from .verifying import Disagreements, Verdict, compare_verifiers, verify

__all__ = [
    "Disagreements", "Extracted", "ParseError", "SymbolicJudge", "Verdict", "compare_verifiers",
    "extract_answer", "find_answer", "last_boxed", "normalise", "numerically_equal", "parse",
    "verify",
]  # fmt: skip

"""Jinja's sandbox with limits: steps are counted, and each value of a template is measured.

Jinja has no endless loops, but loops in loops, 10 ** 10 ** 10, and a text that doubles a hundred
times. So the template's tree is changed before it is compiled: a counter at the beginning of each
loop and macro, and a measurement around each list, dict and joined text. Operators, calls and
filters are measured by the environment. The size of a value is the number of its characters and
elements, all levels together; the sizes of all values that are made may not go over MOST_WORK.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from ..files.untrusted import translated
from .stages.added import MARK
from .stages.part import TemplateError

__all__ = ["run_template"]

LONGEST_TEMPLATE = 1 << 18  # characters
MOST_SIZE = 1 << 20  # of one value, and of what is written
MOST_WORK = 1 << 24  # of all values that are made
MOST_DEPTH = 64
SECONDS = 2.0
_FILTERS = (
    "abs capitalize count d default dictsort e escape first float int items last length list lower "
    "map max min reject rejectattr reverse round safe select selectattr sort string title trim "
    "unique upper"
).split()
_TEXT_METHODS = frozenset(
    "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower "
    "isnumeric isspace istitle isupper join lower lstrip partition removeprefix removesuffix "
    "replace rfind rindex rpartition rsplit rstrip split splitlines startswith strip swapcase "
    "title upper".split()
)
_WIDTH = re.compile(r"%[^a-zA-Z%]*(\d{3}|\*)")
_DATE = re.compile(r"(%[aAbBcdDeFHIjmMpSTuwxXyYZz%-]|[^%]){0,100}")


def run_template(source: str, values: Mapping[str, Any]) -> str:
    """What a template writes with these values, which are plain ones.

    Raises: TemplateError if it is not a template, refuses the values or goes over a limit.
    """
    if len(source) > LONGEST_TEMPLATE:
        raise TemplateError(f"a chat template of {len(source):,} characters is too long")
    limits = _Limits()
    try:
        with translated("the chat template", TemplateError, "failed"):
            environment = _Sandbox(limits)
            limits.measure(dict(values))
            tree = _Guard().visit(environment.parse(source))
            tree.set_environment(environment)
            written = []
            for piece in environment.from_string(tree).generate(**values):
                limits.write(piece)
                written.append(piece)
            return "".join(written)
    except (JinjaError, SyntaxError) as error:
        raise TemplateError(f"the chat template failed: {str(error)[:300]}") from error


class _Limits:
    """Counts the work of one run."""

    def __init__(self) -> None:
        self.work = 0
        self.written = 0
        self.end = time.monotonic() + SECONDS

    def step(self, n: int = 1) -> None:
        self.work += n
        if self.work > MOST_WORK or time.monotonic() > self.end:
            raise TemplateError(
                f"the chat template was stopped after more than {SECONDS:g} seconds or "
                f"{MOST_WORK:,} steps"
            )

    def write(self, piece: str) -> None:
        self.step()
        self.written += len(piece)
        self.check(self.written)

    def check(self, size: int) -> None:
        if size > MOST_SIZE:
            raise TemplateError(
                f"the chat template makes a text or list of more than {MOST_SIZE:,} characters or "
                "elements"
            )

    def measure(self, value: Any) -> Any:
        """The value, if it is small enough; a container counts with all that is in it."""
        size = 1
        level = [value]
        for _ in range(MOST_DEPTH):
            below: list[Any] = []
            for one in level:
                if isinstance(one, str):
                    size += len(one)
                elif isinstance(one, Mapping):
                    size += len(one)
                    below += [*one.keys(), *one.values()]
                elif isinstance(one, list | tuple | set | frozenset):
                    size += len(one)
                    below += one
                elif isinstance(one, int):
                    size += one.bit_length() >> 5
                if size > MOST_SIZE:
                    self.check(size)
            if not below:
                break
            level = below
        else:
            raise TemplateError(f"the chat template nests more than {MOST_DEPTH} levels")
        self.step(size)
        return value

    def joined(self, pieces: Any) -> str:
        """The pieces as one text."""
        texts = [str(piece) for piece in pieces]
        self.check(sum(map(len, texts)))
        return str(self.measure("".join(texts)))


class _Guard(NodeTransformer):
    """Adds the counters and measurements to a template's tree."""

    def _counted(self, node: Any) -> Any:
        self.generic_visit(node)
        step = nodes.Filter(nodes.Const(0), "_step", [], [], None, None, lineno=node.lineno)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        return node

    visit_For = visit_Macro = visit_CallBlock = _counted

    def _measured(self, node: Any) -> Any:
        self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load":
            return node
        return nodes.Filter(node, "_measured", [], [], None, None, lineno=node.lineno)

    visit_List = visit_Tuple = visit_Dict = _measured

    def visit_Concat(self, node: nodes.Concat) -> Any:
        self.generic_visit(node)
        pieces = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(pieces, "_joined", [], [], None, None, lineno=node.lineno)


class _Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one run: few filters, few methods, all measured."""

    intercepted_binops = frozenset("+ - * / // % **".split())

    def __init__(self, limits: _Limits) -> None:
        @pass_context
        def finalize(context: Any, value: Any) -> Any:
            return limits.measure(value)

        super().__init__(
            trim_blocks=True, lstrip_blocks=True, optimized=False, finalize=finalize,
            extensions=["jinja2.ext.loopcontrols"], cache_size=0,
        )  # fmt: skip
        self.limits = limits
        self.filters = {name: self._measuring(FILTERS[name]) for name in _FILTERS}
        self.filters.update(
            _step=lambda value: limits.step(16),
            _measured=limits.measure,
            _joined=limits.joined,
            join=self._join,
            replace=self._replace,
            tojson=self._tojson,
        )
        keep = {name: self.globals[name] for name in ("range", "dict", "namespace")}
        self.globals = {**keep, "raise_exception": _refuse, "strftime_now": _now}
        self.concat = limits.joined  # type: ignore[method-assign]

    def _measuring(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            return self.limits.measure(function(*args, **kwargs))

        return run

    def _join(self, value: Any, d: str = "", attribute: Any = None) -> str:
        items = list(value)
        if attribute is not None:
            items = [self.getitem(item, attribute) for item in items]
        texts = [str(item) for item in items]
        self.limits.check(sum(map(len, texts)) + len(texts) * len(str(d)))
        return str(self.limits.measure(str(d).join(texts)))

    def _replace(self, text: Any, old: str, new: str, count: int = -1) -> str:
        text, old, new = str(text), str(old), str(new)
        n = text.count(old) if count is None or count < 0 else min(count, text.count(old))
        self.limits.check(len(text) + n * len(new))
        return str(self.limits.measure(text.replace(old, new, n)))

    def _tojson(
        self, value: Any, ensure_ascii: bool = False, indent: int | None = None,
        separators: Any = None, sort_keys: bool = False,
    ) -> str:  # fmt: skip
        if indent is not None and not 0 <= int(indent) <= 16:
            raise TemplateError(f"the chat template indents by {indent}")
        before = self.limits.work
        self.limits.measure(value)
        self.limits.check((self.limits.work - before) * max(1, int(indent or 0)))
        text = json.dumps(
            value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys
        )
        if ensure_ascii:
            text = "".join(c if c.isascii() or c == MARK else json.dumps(c)[1:-1] for c in text)
        return str(self.limits.measure(text))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str | bytes):
            return isinstance(obj, str) and attr in _TEXT_METHODS
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        return None  # and is_safe_attribute refuses `format`

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        size = 0
        for a, b in ((left, right), (right, left)):
            if isinstance(a, str | list | tuple):
                size += len(a) * (max(b, 0) if operator == "*" and isinstance(b, int) else 1)
            elif isinstance(a, int) and operator == "*":
                size += a.bit_length()
        if operator == "**":
            small = isinstance(left, int | float) and isinstance(right, int | float)
            if not small or abs(left) > 1 << 32 or abs(right) > 64:
                raise TemplateError("the chat template computes too large a power")
        if operator == "%" and isinstance(left, str) and _WIDTH.search(left):
            raise TemplateError("the chat template formats with too large a width")
        self.limits.check(size)
        return self.limits.measure(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name in ("join", "replace"):
            method = __self._join if name == "join" else __self._replace
            arguments = (args[0], owner) if name == "join" else (owner, *args)
            return method(*arguments, **kwargs)
        __self.limits.step()
        return __self.limits.measure(super().call(__context, __obj, *args, **kwargs))


def _refuse(message: Any) -> None:
    raise SecurityError(f"it does not accept these messages: {str(message)[:200]}")


def _now(form: Any) -> str:
    if not isinstance(form, str) or not _DATE.fullmatch(form):
        raise TemplateError("the chat template asks for the date in a form that is not known here")
    return datetime.datetime.now().strftime(form)

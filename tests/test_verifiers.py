"""Verifiers of answers: extraction, normalisation, the grammar, two judges, their limits."""

from __future__ import annotations

import json
import time

import pytest
from data import data_file
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.evaluation.verifiers import (
    ParseError,
    SymbolicJudge,
    compare_verifiers,
    extract_answer,
    find_answer,
    last_boxed,
    normalise,
    numerically_equal,
    parse,
    verify,
)
from tinygrad_llm.evaluation.verifiers.trees import equal_answers
from tinygrad_llm.finetune.reasoning.rewards import is_right, judged


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{\frac{14}{3}}.", r"\frac{14}{3}"),
        (r"first \boxed{1}, then \boxed{\sqrt{\frac{a}{b^{2}}}} in all", r"\sqrt{\frac{a}{b^{2}}}"),
        (r"\boxed{1} and then \boxed{\frac{1}{2}", None),  # the last one was cut
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed 7 apples", "7"),
        (r"\boxed \pi", r"\pi"),
        (r"\fbox{ 3 }", "3"),
        (r"\boxedtext{1}", None),
        ("nothing 5", None),
        ("", None),
        (r"\boxed{}", ""),
        (r"\boxed", None),
    ],
)
def test_last_boxed_answer(text, expected):
    assert last_boxed(text) == expected


def test_fallbacks_of_extraction():
    text = "The total is 1,234.5 or 12/5"
    assert extract_answer(text) is None
    assert extract_answer(text, "number") == "12/5"
    assert extract_answer("it is 1,234.5 here", "number") == "1,234.5"
    assert extract_answer("east ", "text") == "east"
    assert extract_answer("east", "number") is None
    assert extract_answer(r"the 3 \boxed{\frac{1}{2", "number") is None  # a box that was cut
    with pytest.raises(ValueError, match="fallback must be one of none, number, text, stated"):
        extract_answer("", "numbers")


STATED = [
    ("It is 7. I checked 3 times", "7", "sentence"),
    ("The answer is 7. I checked 3 times.", "7", "named"),
    ("The answer is 5. Wait, no: the answer is 7.", "7", "named"),
    ("The answer is not 5, it is 7.", "7", "sentence"),
    ("Is the answer 5? No, it is 7.", "7", "sentence"),
    ("The answer to the question 2+2 is 4", "4", "named"),
    ("The answer is 3 + 4 = 7 because 1 is 1.", "7", "named"),
    ("Therefore, 8 is the answer. I used 3 steps.", "8", "named"),
    ("**Answer:** 7 (from 3 rows)", "7", "named"),
    ("The answer is **7**.", "7", "named"),
    ("The final answer is: $5. He has $7 left of 10", "5", "named"),
    (r"The answer is $\frac{1}{2}$.", r"\frac{1}{2}", "named"),
    ("The answer is (3, 4).", "(3, 4)", "named"),
    ("The answer is 25%.", "25", "named"),
    ("The answer is −3, not 4", "-3", "named"),
    ("答えは7です。3回確かめました", "7", "named"),
    ("We get 5.\n#### 1,234", "1,234", "hashes"),
    ("**7**, since 3 and 4 are on the table 1", "7", "bold"),
    ("Then **3 + 4 = 7** in all. 2 steps.", "7", "bold"),
    ("3 + 4 = 7", "7", "equation"),
    ("3 + 4 = 7. I checked 3 times", "7", "equation"),
    ("5 + 4 = 9 apples. He counts them 2 times.", "9", "equation"),
    (r"So x = \(\frac{3}{4}\), from 2 rows", r"\frac{3}{4}", "equation"),
    ("5 + 4 = 9. 9 minus 2 leaves 7.", "7", "sentence"),
    ("Ann has 12 apples now. 3 of them are red", "12", "sentence"),
    ("The total is $12.50. He paid with 2 coins", "12.50", "sentence"),
    ("It's 7! I used 2 hands.", "7", "sentence"),
    ("x = 3, y = 4, so there are 7 in all", "7", "sentence"),
    ('The letter "a" appears 3 times in "banana".', "3", "number"),
    ("8 or 7", "7", "number"),
    ("10-3", "3", "number"),
    ("-7", "-7", "number"),
    ("The answer is Paris.", "Paris", "words"),
    ("Paris", "Paris", "text"),
    ("", None, "none"),
    (r"\boxed{7}, and the answer is 8", "7", "box"),
    (r"the answer is 8: \boxed{7", None, "none"),  # the box was cut
]


@pytest.mark.parametrize(("text", "answer", "rule"), STATED)
def test_what_a_text_states_as_its_answer(text, answer, rule):
    assert find_answer(text, "stated") == (answer, rule)
    assert is_right(text, answer or "0") is (answer is not None)
    assert judged(text, "99").rule == rule and not judged(text, "99").correct


@pytest.mark.parametrize(
    "text",
    ["answer is " + "* " * 3000, "answer to " * 2000, "*" * 5000 + "1", "answer is " + "1=" * 3000,
     "\\(" * 3000, "is " + "1 " * 4000, "(1," * 3000, "$1" * 3000, "= " + "a " * 4000],
)  # fmt: skip
def test_long_texts_of_marks_are_read_in_linear_time(text):
    """Linear: a pattern that tries every way to divide such a text would take minutes."""
    before = time.process_time()
    find_answer(text, "stated")
    assert time.process_time() - before < 20


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        (r"\dfrac{17}{50}", r"\frac{17}{50}"), (r"90^\circ", "90"), (r"90^{\circ}", "90"),
        (r"10,\!080", "10080"), (r"11,\! 111,\! 100", "11111100"), ("58,500", "58500"),
        (r"\$32,\!348.50", "32348.50"), ("1, 234", "1, 234"), ("(1,234)", "(1,234)"),
        (r"\text{Evelyn}", "Evelyn"), (r"5.4 \text{ cents}", "5.4"), ("12 apples", "12"),
        (r"864 \mbox{ inches}^2", "864"), (r"x \in [-2,7]", "[-2,7]"), ("25\\%", "25"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"( 3, \frac{\pi}{2} )"), ("3.", "3"),
        ("y = 3x − 3", "y = 3x - 3"), (r"$\tfrac12$", r"\frac12"), (r"12 \pi", r"12 \pi"),
        (r"1 \\ 2", r"1 \\ 2"),
    ],
)  # fmt: skip
def test_normalisation(answer, plain):
    assert normalise(answer) == plain


EQUAL = [
    (r"\frac{14}{3}", "14/3"), (r"\frac43", "4/3"), (r"\frac 59", "5/9"), (r"\frac9{19}", "9/19"),
    (r"3\sqrt{13}", "3*sqrt(13)"), (r"11\sqrt2", r"11 \cdot \sqrt{2}"), (".0000672", "0.0000672"),
    (r"288 \pi", "288pi"), (r"1\frac{4}{5}", "9/5"), ("0.15", r"\frac{3}{20}"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"), ("(a+5)(b+2)", "ab+2a+5b+10"),
    (r"\cot x", r"\frac{\cos x}{\sin x}"), (r"\sin^2 x + \cos^2 x", "1"), ("2^{10}", "1024"),
    (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"), ("3, 5, 7", "7,3,5"), ("1,-2", "-2, 1"),
    (r"\{1\pm\sqrt{5},-2\}", r"\{-2, 1-\sqrt{5}, 1+\sqrt{5}\}"), ("x=5", "5"), ("C", r"\text{(C)}"),
    ("y = 2x + 3", "2y - 4x = 6"), ("6+9i", "9i + 6"), (r"\sqrt{-4}", "2i"), ("52_8", "52_{8}"),
    (r"(-\infty, 2) \cup (3, \infty)", r"(3,\infty)\cup(-\infty,2)"), ("x < 3", "3 > x"),
    (r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}",
     r"\begin{pmatrix} -\frac{1}{3} \\ \frac{2}{3} \end{pmatrix}"),
    (r"\left( 3, \frac{\pi}{2} \right)", "(3,pi/2)"), (r"\log_2 8", "3"), (r"\sqrt[3]{27}", "3"),
    (r"\binom{5}{2}", "10"), ("4!", "24"), ("e^{2 \\ln 3}", "9"), ("|{-3}|", "3"),
]  # fmt: skip
DIFFERENT = [
    ("3", "4"), ("52_8", "52"), ("(3,4]", "[3,4]"), ("(1,2)", "(2,1)"), ("1,2", "1,2,3"),
    ("1, 1, 2", "1, 2, 2"), ("east", "west"), (r"\frac{1}{3}", "0.3333"), ("x+1", "x+2"),
    ("y = 2x + 3", "y = 3x + 3"), (r"1 \pm \sqrt{19}", r"1+\sqrt{19}"), ("x < 3", "x > 3"),
    ("(1,2)", "3"), (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
    ("6+9i", "6-9i"), (r"(2,\infty)", "2"), ("x", "y"),
]  # fmt: skip


@pytest.fixture(scope="module")
def symbolic():
    pytest.importorskip("sympy")
    with SymbolicJudge() as judge:
        yield judge


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [(*pair, True) for pair in EQUAL] + [(*pair, False) for pair in DIFFERENT],
)
def test_answers_that_are_equal_and_different(a, b, equal, symbolic):
    for judge in (numerically_equal, symbolic):
        assert verify(a, b, judge, boxed=False).correct is equal
        assert verify(b, a, judge, boxed=False).correct is equal
    assert verify(rf"so \boxed{{{a}}}", b).correct is equal


@pytest.mark.parametrize(
    "text",
    [
        '__import__("os").system("touch hacked")', "__import__('os')", "os.getcwd()", "a.b",
        "lambda x: x", "f'{x}'", "[x for xyzw in y]", "exec(1)", "x; y", "1 if x else 2", "",
        "(" * 60 + "1" + ")" * 60, "1" * 2001, "3 4", "(1", r"\frac{1}", r"\unknown{3}", "2 +",
        r"\begin{pmatrix}1\\2&3\end{pmatrix}", r"\begin{evil}1\end{evil}", "^" * 100, "9__class__",
    ],
)  # fmt: skip
def test_what_is_not_in_the_grammar_is_refused(text, symbolic, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParseError):
        parse(text)
    assert verify(text, "3", symbolic, boxed=False).how == "not a formula"
    assert not list(tmp_path.iterdir())


@given(st.text(alphabet="0123456789x+-*/^(){}\\frac sqrtpi,[]_|!=<&.", max_size=30))
def test_any_text_is_parsed_or_refused(text):
    try:
        tree = parse(text)
    except ParseError:
        return
    assert json.loads(json.dumps(tree)) == tree
    assert equal_answers(tree, tree, numerically_equal) is True


def test_a_formula_without_end_ends_with_its_child():
    pytest.importorskip("sympy")
    with SymbolicJudge(seconds=1.0) as judge:
        assert judge(parse("1+1"), parse("2")) is True
        began = time.perf_counter()
        slow = parse("(" + "+".join(f"\\sin^{{{n}}} x" for n in range(3, 60)) + ")^{99}")
        assert judge(slow, parse("(x+y)^{98}")) is None
        assert time.perf_counter() - began < 30
        assert judge.ended == 1
        assert judge(parse("x+x"), parse("2x")) is True  # by a new child
        assert judge(parse("9^{9^{9^{9}}}"), parse("1")) is None  # refused without computing it
        judge._child.kill()
        judge._child.wait()
        assert judge(parse("x"), parse("y")) is None and judge.ended == 2
        assert judge(parse("x"), parse("y")) is False


def test_a_child_without_memory_does_not_start():
    pytest.importorskip("sympy")
    pytest.importorskip("resource")
    judge = SymbolicJudge(megabytes=20)
    with pytest.raises(RuntimeError, match="did not start with 20 megabytes"):
        judge(parse("1"), parse("2"))


def test_two_verifiers_are_compared(symbolic):
    texts = [r"\boxed{0.3333}", r"\boxed{2x}", "no box", r"\boxed{4}"]
    report = compare_verifiers(texts, [r"\frac13", "x+x", "3", "5"], symbolic)
    assert [v.correct for v in report.first] == [False, True, False, False]
    assert [row[0] for row in report.rows] == []
    close = compare_verifiers([r"\boxed{1.0000000000001}"], ["1"], symbolic)
    assert [row[0] for row in close.rows] == [0]  # nearer than the tolerance of the second
    assert "they disagree on 1 of 1" in str(close)
    with pytest.raises(ValueError, match="2 texts and 1 expected"):
        compare_verifiers(["1", "2"], ["1"], symbolic)


def test_stored_answers_of_math500(symbolic):
    """Every expected answer is read, every solution is right, and both verifiers agree."""
    questions = json.loads(data_file("reasoning/math500_test.json").read_text(encoding="utf-8"))
    answers = [q["answer"] for q in questions]
    report = compare_verifiers([q["solution"] for q in questions], answers, symbolic)
    assert report.unread == [] and report.rows == []
    assert sum(v.correct for v in report.first) == 500
    rights = {}
    for model in ("gpt", "qwen3"):
        path = data_file(f"reasoning/math500_{model}_answers.json")
        rows = json.loads(path.read_text(encoding="utf-8"))
        assert [row["answer"] for row in rows] == answers
        report = compare_verifiers([row["prediction"] for row in rows], answers, symbolic)
        assert report.rows == [] and report.unread == []
        rights[model] = sum(v.correct for v in report.first)
    assert rights == {"gpt": 478, "qwen3": 291}  # gpt's file has lost braces: \frac3*sqrt(3)4
    more = json.loads(data_file("reasoning/math_new50_exercise.json").read_text(encoding="utf-8"))
    for row in more:
        parse(row["answer"])

"""Entity scores against seqeval, which reads tags in two ways; places of tokens."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from published import needs_weights

seqeval = pytest.importorskip("seqeval.metrics")
from seqeval.metrics import sequence_labeling, v1  # noqa: E402
from seqeval.metrics.sequence_labeling import get_entities  # noqa: E402
from seqeval.scheme import IOB2, Entities  # noqa: E402

from tinygrad_llm.data.bio import bio_labels, from_bio  # noqa: E402
from tinygrad_llm.evaluation import tag_report  # noqa: E402
from tinygrad_llm.finetune.tagging import placed  # noqa: E402
from tinygrad_llm.text import from_pretrained  # noqa: E402
from tinygrad_llm.weights import packaged  # noqa: E402

LABELS = bio_labels(["a", "b-c", "d"])


def drawn(seed: int, n: int = 40) -> list[list[str]]:
    """Rows of tags, most of them with an I where none may stand."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(len(LABELS)))
    return [list(rng.choice(LABELS, rng.integers(1, 12), p=weights)) for _ in range(n)]


@pytest.mark.parametrize("seed", range(50))
def test_the_same_entities(seed):
    """2,000 rows of tags, and what both libraries read in them."""
    rows = drawn(seed)
    strict = Entities(rows, IOB2).entities
    for tags, theirs in zip(rows, strict, strict=True):
        loose = [(e.type, e.start, e.end - 1) for e in from_bio(tags)]
        assert loose == get_entities(tags)
        expected = [(e.tag, e.start, e.end) for e in theirs]
        assert [(e.type, e.start, e.end) for e in from_bio(tags, strict=True)] == expected


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_the_same_scores(seed, strict):
    true = drawn(seed)
    rng = np.random.default_rng(seed + 100)
    predicted = [
        [t if rng.random() < 0.7 else str(rng.choice(LABELS)) for t in row] for row in true
    ]
    report = tag_report(true, predicted, strict)
    mode = {"mode": "strict", "scheme": IOB2} if strict else {}
    scores, more = (v1.precision_recall_fscore_support, {"scheme": IOB2}) if strict else (
        sequence_labeling.precision_recall_fscore_support, {}
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for average, score in (("micro", report.micro), ("macro", report.macro)):
            theirs = scores(true, predicted, average=average, **more)
            np.testing.assert_allclose(score[:3], theirs[:3], rtol=0, atol=1e-15)
            assert score.support == theirs[3]
        text = seqeval.classification_report(true, predicted, output_dict=True, **mode)
    for name, score in report.per_type.items():
        row = text[name]
        mine = (score.precision, score.recall, score.f1, score.support)
        keys = ("precision", "recall", "f1-score", "support")
        np.testing.assert_allclose(mine, [row[k] for k in keys], rtol=0, atol=1e-15)


TEXTS = (
    "Café Zzz in  Tokyo!", "The naïve coöperation of MÜLLER & Söhne GmbH, 2nd floor — “ok”…",
    "東京都で生まれた。Straße ﬁne 1/2 ½ ㌔", "a\tb\n c   d", "日本のカタカナ ガギグ がぎぐ",
    "emoji 👩\u200d💻 test 🗼!", "Hello   world##x ##y", "zzz",
)  # fmt: skip


@pytest.mark.weights
def test_places_of_tokens():
    """Against the offsets of tokenizers: MiniLM's WordPiece, in small letters without accents."""
    tokenizers = pytest.importorskip("tokenizers")
    needs_weights("all-minilm-l6-v2")
    folder = packaged.find("all-minilm-l6-v2")
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.no_padding()
    theirs.no_truncation()
    ours = from_pretrained("all-minilm-l6-v2")
    for text in TEXTS:
        expected = theirs.encode(text)
        ids, spans = placed(text, ours)
        assert ids == expected.ids
        for (a, b), (c, d) in zip(spans, expected.offsets, strict=True):
            assert text[a:b].strip() == text[c:d].strip()

# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. The whole of it: cut, look up, read, answer, or say no
#
# **Question.** A model answers from your texts. Where can that go wrong, and how does it say "the texts do not say"?
#
# **For example.** Best cosine 0.82: answer. Best cosine 0.31: "the texts do not say". In between somebody has
# to choose a limit.
#
# **Predict first.** A search always returns its best passage, also for "What is the capital of France?" in a recipe
# collection. What does a language model do with that passage? And if the program refuses below a cosine of 0.6, what happens to
# short questions that the texts do answer?
#
# **You need.** Lessons 1 to 3.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## By hand: chunks that overlap
# A passage must fit into the prompt, so texts are cut. A cut in the middle of a fact loses it for both parts, unless
# neighbours share some characters.


# %%
def cut(text, size, overlap):
    """Windows of `size` words, each beginning `overlap` words before the last one's end."""
    words = text.split()
    starts = range(0, max(1, len(words) - overlap), size - overlap)
    return [" ".join(words[i : i + size]) for i in starts]


text = "The tea is green . It steeps for two minutes at eighty degrees . The cups are warmed first ."
for overlap in (0, 4):
    pieces = cut(text, 8, overlap)
    whole = [piece for piece in pieces if "steeps for two minutes" in piece]
    print(f"overlap {overlap}: {len(pieces)} pieces, {len(whole)} with the whole fact")
assert not any("for two minutes at eighty" in piece for piece in cut(text, 8, 0))
assert any("for two minutes at eighty" in piece for piece in cut(text, 8, 4))

# %% [markdown]
# ## By hand: a threshold for "the texts do not say"
# Each question has the cosine of its best passage. Questions with an answer have higher ones, but the two heaps touch. A
# threshold makes two kinds of errors: it refuses what the texts answer, and it answers what they do not know. One number
# cannot make both zero, so choose by what an error costs.

# %%
answered = torch.tensor([0.53, 0.58, 0.61, 0.66, 0.70, 0.72, 0.74, 0.79, 0.83, 0.90])
foreign = torch.tensor([0.16, 0.18, 0.20, 0.21, 0.22, 0.25, 0.28, 0.31, 0.37, 0.55])
thresholds = torch.linspace(0.0, 1.0, 101)  # shape (101,)
refused = {
    "with an answer": torch.stack([(answered < t).float().mean() for t in thresholds]),
    "about something else": torch.stack([(foreign < t).float().mean() for t in thresholds]),
}


def costs(wrong_answer, refusal):
    """The mean cost of a question at each threshold, if both kinds are equally frequent."""
    return wrong_answer * (1 - refused["about something else"]) + refusal * refused["with an answer"]


best = {price: thresholds[costs(price, 1.0).argmin()].item() for price in (0.5, 5.0)}
print("best threshold where a wrong answer costs half a refusal, and five of them:", best)
assert best[5.0] > best[0.5]

# %% [markdown]
# ## By hand: the prompt is the whole interface
# The model sees passages and question as one text. What is not in it, it can only invent; what is in it and wrong, it tends
# to repeat. So: few passages, only close ones, the question last.


# %%
def prompt(question, passages):
    """The text that a chat model receives."""
    if not passages:
        return f"Answer in one sentence: {question}"
    context = "\n".join(passages)
    return f"Context:\n{context}\n\nUsing the context, answer in one sentence: {question}"


print(prompt("How long does the tea steep?", ["It steeps for two minutes."]))

# %% [markdown]
# ## With the package: an index, a search, a refusal
# A handful of notes of our own. Without MiniLM the search goes by words, and a question is refused if no passage shares a word
# with it.

# %% tags=["package"]
from tinygrad_llm.finetune.embedding import SentenceEmbedder  # noqa: E402
from tinygrad_llm.retrieval import build_index, chat_prompt, close_passages  # noqa: E402
from tinygrad_llm.weights import packaged  # noqa: E402

assert chat_prompt("Why?", ["a", "b"]) == prompt("Why?", ["a", "b"])

notes = [
    {"title": "tea.txt", "text": "Green tea steeps for two minutes at eighty degrees. Black tea takes four minutes."},
    {"title": "garden.txt", "text": "The tomatoes get water in the morning. Never wet their leaves."},
    {"title": "bicycle.txt", "text": "Oil the chain after rain. The tyres take four bar."},
    {"title": "house.txt", "text": "The key of the cellar hangs behind the kitchen door."},
]
own = {
    "How long does green tea steep?": "tea.txt", "When are tomatoes watered?": "garden.txt",
    "What pressure do the tyres need?": "bicycle.txt", "Where is the key of the cellar?": "house.txt",
}
others = ("Who painted Guernica?", "Which river flows through Vienna?", "How is cheese made?")
minilm = SentenceEmbedder.load() if packaged.locate(packaged.PACKAGED["all-minilm-l6-v2"]) else None
index = build_index(notes, minilm)
best_cosines = {}
for question in (*own, *others):
    hits = index.search(question, 2)
    close = close_passages(hits)
    best_cosines[question] = hits[0].cosine if hits and hits[0].cosine is not None else float(bool(hits))
    answer = f"{close[0].chunk.source}, score {close[0].score:.2f}" if close else "the texts do not say"
    print(f"{question:38} {answer}")
    if question in own:
        assert close and close[0].chunk.source == own[question]
    elif minilm:
        assert not close

# %% [markdown]
# `tinygrad-llm rag index FOLDER` and `tinygrad-llm rag ask "..."` do this with your files, and SmolLM2 writes the answer. Run
# `python lessons/19_retrieval/04_answers_and_refusal.py --full` to see it write.

# %% tags=["package"]
import sys  # noqa: E402

if "--full" in sys.argv and packaged.locate(packaged.PACKAGED["smollm2-135m-instruct"]):
    from tinygrad_llm.retrieval import Reader

    reader = Reader.load()
    for question in list(own)[:2]:
        close = close_passages(index.search(question, 2))
        print(question, "\n  without:", reader.answer(question, max_new_tokens=40))
        print("  with passages:", reader.answer(question, close, max_new_tokens=40))

# %% [markdown]
# **Answer.** Without a threshold the model answers from a passage about something else, in fluent sentences. With a high one
# it refuses short questions whose cosine is low. Both errors are shares that one can measure (benchmarks/RETRIEVAL.md has them
# for Python's reference), and a model can be trained to refuse: `tinygrad-llm rag questions --form instruct` writes
# examples in which the right passage is missing.

# %% tags=["package"]
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
for name, shares in refused.items():
    axes[0].plot(thresholds.numpy(), shares.numpy(), label=name)
axes[0].axvline(0.35, color="gray", linestyle=":", label="0.35, as rag ask has it")
axes[0].set_xlabel("threshold"), axes[0].set_ylabel("share refused"), axes[0].legend(fontsize=8)
colours = ["tab:blue" if question in own else "tab:orange" for question in best_cosines]
axes[1].barh(range(len(best_cosines)), list(best_cosines.values()), color=colours)
axes[1].axvline(0.35, color="gray", linestyle=":")
axes[1].set_yticks(range(len(best_cosines)), list(best_cosines), fontsize=8), axes[1].invert_yaxis()
axes[1].set_xlabel("best cosine" if minilm else "shares a word")
figure.tight_layout()
save_plot(figure, "04_answers_and_refusal")

# %% [markdown]
# ## Exercises
# 1. A text has 1,000 words, chunks have 100 of which neighbours share 20. How many chunks are there, and how often is the
#    average word stored?
# 2. 90 % of the questions have an answer in the texts. Compute the share of wrong refusals and of wrong answers among all
#    questions at the thresholds 0.35 and 0.6, with the cosines above.
# 3. A mistake that runs without an error: the passages are sorted by cosine, then cut to the three with the *lowest* number
#    of characters. Which questions suffer? Show it with two passages of which only the longer one has the answer.
#
# Solutions: `lessons/solutions/19_retrieval/04_answers_and_refusal.py`

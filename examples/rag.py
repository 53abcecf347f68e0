"""Look things up: texts are cut into chunks, BM25 finds those that answer, and they go in a prompt.

`tinygrad-llm rag` does the same with MiniLM's vectors, and SmolLM2 writes the answer.
"""

from tinygrad_llm.retrieval import BM25, chat_prompt, chunks_of

documents = [
    {
        "title": "tea",
        "text": "Green tea steeps for two minutes at 80 degrees. Black tea takes four.",
    },
    {
        "title": "bread",
        "text": "Knead the dough for ten minutes. It rises for an hour in the warm.",
    },
    {"title": "bees", "text": "A bee colony has one queen. Workers live for six weeks in summer."},
]
chunks = chunks_of(documents, size=60, overlap=0)
question = "How long does green tea steep?"
hits = BM25([chunk.text for chunk in chunks]).search(question, k=2)
for i, score in zip(hits.ids, hits.scores, strict=True):
    print(f"{score:5.2f}  {chunks[i].source}: {chunks[i].text}")
print(chat_prompt(question, [chunks[i].text for i in hits.ids]))

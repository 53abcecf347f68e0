"""The stages of a published tokenizer: normalise, cut, look up pieces, add special tokens, decode.

Each file reads the description of its stage as tokenizer.json writes it, {"type": ..., ...}, and
returns what does the work. `pipeline.py`, one floor up, joins the stages to a tokenizer.
"""

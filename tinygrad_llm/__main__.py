"""python -m tinygrad_llm: the command line."""

from .cli import main

main()

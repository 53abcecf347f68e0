"""python -m tinygrad_llm.cli"""

from . import main

main()

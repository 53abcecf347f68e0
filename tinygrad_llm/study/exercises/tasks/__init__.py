"""Exercises to build something: each file is a solution, with the answer between its marks.

    # >>> what to write
    the lines of the solution
    # <<<

`start` writes the file without the marked lines. task_checks.py and layer_checks.py check it.
"""

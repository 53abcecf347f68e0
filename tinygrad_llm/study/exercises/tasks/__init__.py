"""Exercises to build something: each file is a solution, and between its marks lies the answer.

    # >>> what to write
    the lines of the solution
    # <<<

`start` writes the file with the marked lines left out. checks.py says what each must do.
"""

"""Exercises: write the backward of every op, parts of the engine, and layers, one at a time.

exercises()        all of them, in order
exercise(name)     one: its template(), solution() and hints()
check_file(name, path)   grade a file in a child process: a Report
Progress(folder)   what was passed, and what comes next
"""

from .catalogue import CHAPTERS, Exercise, exercise, exercises
from .child import Report, check_file
from .progress import Progress

__all__ = [
    "CHAPTERS",
    "Exercise",
    "Progress",
    "Report",
    "check_file",
    "exercise",
    "exercises",
]

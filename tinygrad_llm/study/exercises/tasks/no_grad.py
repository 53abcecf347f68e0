"""no_grad: a context in which nothing is recorded.

record(x) stands for an op here: it appends x to the tape if recording is on. Write the context
manager. It must restore the state before it: contexts can be nested, and an error may leave one.
"""

tape: list = []
recording = True


def record(x):
    """Append x to the tape, if recording."""
    if recording:
        tape.append(x)


class no_grad:
    """with no_grad(): nothing is recorded."""

    def __enter__(self):
        """Turn recording off, remembering how it was."""
        # >>> `global recording`, and keep its value on self
        global recording
        self.before, recording = recording, False
        # <<<

    def __exit__(self, *error):
        """Put recording back as it was; let an error pass."""
        # >>> put back what was kept
        global recording
        recording = self.before
        # <<<

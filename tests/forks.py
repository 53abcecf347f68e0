"""Tests in a forked process, which must end in time."""

import os
import signal
import sys
import time
import traceback

import pytest

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def in_child(work, seconds=60):
    """Whether work() returns in a forked process within some seconds."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False

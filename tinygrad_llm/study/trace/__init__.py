"""What every op and module of a run did: times, shapes, memory, gradients."""

from .recording import Trace, trace

__all__ = ["Trace", "trace"]

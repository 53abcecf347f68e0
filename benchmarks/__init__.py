"""Speed, measured against its rivals on the same machine in the same run: python -m benchmarks."""

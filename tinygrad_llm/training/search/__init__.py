"""The search for good options: spaces of values, strategies, trials that resume, a picture."""

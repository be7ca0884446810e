"""A training run: setup, loop, step, state, checkpoints, records."""

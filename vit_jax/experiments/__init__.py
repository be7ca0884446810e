"""Several runs and the one table they make: studies, sweeps, VTAB."""

"""Several threads in one call of a compiled function."""

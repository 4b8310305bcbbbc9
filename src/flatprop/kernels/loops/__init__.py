"""Loops over arrays, one or two registers at a time: activations, losses, updates, rows."""

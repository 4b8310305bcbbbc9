"""The kinds of number that a formula is written for, and the functions that they all have."""

"""What other compiled code calls: from `@njit` functions, from C, from SciPy."""

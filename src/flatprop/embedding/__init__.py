"""Networks for other compiled code: C, SciPy, and functions of one fixed architecture."""

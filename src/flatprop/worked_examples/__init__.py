"""Examples of backpropagation with every number, which `python -m flatprop explain` prints."""

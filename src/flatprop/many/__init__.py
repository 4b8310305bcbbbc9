"""Many networks: ensembles of one architecture, and lists of networks of any architectures."""

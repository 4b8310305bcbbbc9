"""Tables in files -> polars frames. Needs polars: ``pip install 'flatprop[tables]'``."""

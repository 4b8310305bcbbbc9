"""`python -m flatprop`."""

import sys

from flatprop.cli import main

if __name__ == "__main__":
    sys.exit(main())

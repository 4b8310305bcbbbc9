"""`python -m flatprop`."""

import sys

if __name__ == "__main__":
    try:
        from flatprop.cli import main

        status = main()
    except KeyboardInterrupt:  # before `main` could see to it
        print("flatprop: error: interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)

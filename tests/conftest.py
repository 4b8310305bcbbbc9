"""What all tests have in common."""

import signal


def pytest_configure() -> None:
    # A shell starts what runs in the background with Ctrl-C ignored, and so would everything be
    # that this process starts; some tests interrupt themselves.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

"""Ctrl-C in the middle of a training, however slow the machine is."""

import contextlib
import signal
import threading

from flatprop.training.stepper import Stepper


@contextlib.contextmanager
def ctrl_c(after, press=lambda: signal.raise_signal(signal.SIGINT)):
    """Ctrl-C for the training in this block, `after` seconds from its first compiled call.

    What comes before that call, such as checks, may take as long as it will. Yields a list, which
    has an entry for each compiled call that began when the signal had been sent.
    """
    advance, started, sent, late = Stepper.advance, [], [], []

    def interrupt():
        press()
        sent.append(True)

    timer = threading.Timer(after, interrupt)

    def watched(stepper, *arguments):
        if not started:
            started.append(True)
            timer.start()
        if sent:
            late.append(True)
        return advance(stepper, *arguments)

    Stepper.advance = watched
    try:
        yield late
    finally:
        Stepper.advance = advance
        timer.cancel()
        if started:
            timer.join()

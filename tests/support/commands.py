"""Commands of the command line, and what they print."""

from flatprop.cli import main


def flat(text):
    """A text whose lines were broken."""
    return " ".join(text.split())


def refused(command, capsys):
    """What a command that is a mistake says, in one line; nothing else is printed."""
    assert main(command.split(" ")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("flatprop: error: ")
    assert max(map(len, err.split("\n"))) <= 79
    return flat(err)

"""What is read off a figure, and the network of the tutorial."""

import re

import numpy as np

import flatprop as fp


def texts(ax):
    """All that is written into the axes."""
    return [text.get_text() for text in ax.texts if text.get_text()]


def numbers(text):
    return [float(n) for n in re.findall(r"-?\d[\d.]*(?:e-?\d+)?", text.replace("−", "-"))]


def line(ax, label):
    (found,) = (one for one in ax.lines if one.get_label() == label)
    return found


def dosage():
    """The tutorial's network, and its three observations."""
    layers = [fp.Dense(2, "softplus"), fp.Dense(1)]
    net = fp.Network(1, layers, loss="ssr", dtype="float64")
    net.params = [3.34, -3.53, -1.43, 0.57, -1.22, -2.30, 0]
    return net, np.array([[0.0], [0.5], [1.0]]), np.array([[0.0], [1.0], [0.0]])

"""The mathematics: one expression for each activation, loss, optimizer and schedule."""

# Whoever asks for one optimizer finds the tables of all.
from flatprop.formulas import optimizers as optimizers

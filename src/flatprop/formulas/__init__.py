"""The mathematics: one expression for each activation, loss, optimizer and schedule."""

# Whoever imports one optimizer gets the tables with all of them.
from flatprop.formulas import optimizers as optimizers

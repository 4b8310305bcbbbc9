"""`fit` and `Trainer`: the runs, what happens around their epochs, and what they leave."""

"""The algorithm: forward, backward, derivatives and the training loop over layer records."""

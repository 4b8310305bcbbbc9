"""The same algorithm for one architecture, with its sizes as constants."""

"""What a network is trained and measured on: whole, in parts, or as batches."""

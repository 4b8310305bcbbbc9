"""What a network computes: outputs, losses, derivatives, and a backpropagation laid open."""

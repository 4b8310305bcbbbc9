"""What a user passes in: checked, made into arrays, and answered where it does not fit."""

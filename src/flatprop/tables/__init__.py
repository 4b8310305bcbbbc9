"""Tables: how their columns become numbers, and the networks that suit them."""

"""A network as data: its layers, its one vector of parameters, and views into it."""

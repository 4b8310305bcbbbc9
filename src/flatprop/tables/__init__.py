"""Tables: from a file to a scikit-learn pipeline that ends in a network."""

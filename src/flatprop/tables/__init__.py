"""Tables with text and gaps in them, in front of the estimators of `flatprop.sklearn`."""

"""How good a model is: ways of holding records out, figures with their intervals, leaks, and the model card."""

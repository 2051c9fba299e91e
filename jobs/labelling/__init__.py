"""Active learning: which records are worth a person's look, and the way of what they say back into the table of labels."""

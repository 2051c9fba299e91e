"""Ways on which a message goes out, one protocol a module."""

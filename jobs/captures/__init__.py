"""Capture files and their ground truth, as commands of several sources take them."""

"""A small source, whole: readings of measuring devices, as JSON, judged by how they differ from what the device said before."""

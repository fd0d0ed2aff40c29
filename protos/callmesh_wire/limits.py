"""What the mesh takes at most."""

# Bytes of one blob: a bundle, a file, a value by reference.
MAX_BLOB = 5 * 1024**3

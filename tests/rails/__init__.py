"""What must stay as it was while the code is moved: composed configs, the public surface, what is stored on disk."""

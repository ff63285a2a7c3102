"""Model folders: written, read, described, pushed and pulled."""

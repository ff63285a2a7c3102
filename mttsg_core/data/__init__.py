"""From annotation files to batches of tensors: rows, pairs, data folders, features of their videos."""

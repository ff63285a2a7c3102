"""Helpers that have nothing to do with videos: devices, processes, files, text, the Hugging Face Hub."""

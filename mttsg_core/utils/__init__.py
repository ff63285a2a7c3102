"""What every room needs and no video: devices, processes, files, JSON lines, the Hugging Face Hub."""

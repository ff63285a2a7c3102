"""Features of videos: how they are made, and the files that hold them."""

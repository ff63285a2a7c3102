"""Features of videos: extraction from video files, and the files that store them."""

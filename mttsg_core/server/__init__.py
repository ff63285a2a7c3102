"""The page on which a library of videos is searched, watched, corrected and learned from (optional extra `serve`)."""

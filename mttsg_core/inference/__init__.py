"""From a video and sentences to moments, whatever scores them."""

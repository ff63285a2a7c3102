"""From a video and sentences to moments.

`grounder` is the way in: it finds or extracts features and grounds sentences in them. `predictor` is what scores
moments, a trained network, and `zero_shot` its counterpart without training. `sliding_window` splits long videos and
merges their moments; `modes` names the two grounding modes. `ranking` orders the moments of many videos, and `excerpts`
cuts them out as video files.
"""

"""Pages: one HTML file each, which needs no network.

cases = pick_cases(comparison)
pictures = dict(take_thumbnails(cases, folder.find_video))
text = render_evaluation_page(comparison, cases, pictures)            # of an evaluation; it loads nothing and runs no script
text = render_training_page(folder)                        # of a model folder; likewise
text = render_moments_page(videos, answers, place)         # of answered moments; it plays the videos where they lie
"""

from mttsg_core.report.cases import Case, pick_cases
from mttsg_core.report.evaluation_page import render_evaluation_page
from mttsg_core.report.moments_page import GroundedVideo, render_moments_page
from mttsg_core.report.thumbnails import Thumbnail, take_thumbnails
from mttsg_core.report.training_page import render_training_page

__all__ = [
    "Case",
    "GroundedVideo",
    "Thumbnail",
    "pick_cases",
    "render_evaluation_page",
    "render_moments_page",
    "render_training_page",
    "take_thumbnails",
]

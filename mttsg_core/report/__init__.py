"""Reports as HTML pages: one file each, which needs no network.

cases = pick_cases(report)
thumbnails = dict(take_thumbnails(cases, folder.find_video))
html = render_evaluation_page(report, cases, thumbnails)  # an evaluation; loads nothing and runs no script
html = render_comparison_page(report, cases, thumbnails)  # several systems on the same queries; likewise
html = render_training_page(model_folder)                 # a training run; likewise
html = render_moments_page(videos, moments, page)         # grounded moments; plays the videos from their own files
"""

from mttsg_core.report.cases import Case, pick_cases
from mttsg_core.report.compared_cases import ComparedCase, pick_compared_cases
from mttsg_core.report.comparison_page import render_comparison_page
from mttsg_core.report.evaluation_page import render_evaluation_page
from mttsg_core.report.moments_page import GroundedVideo, moment_stills, render_moments_page
from mttsg_core.report.thumbnails import Thumbnail, take_thumbnails
from mttsg_core.report.training_page import render_training_page

__all__ = [
    "Case",
    "ComparedCase",
    "GroundedVideo",
    "Thumbnail",
    "moment_stills",
    "pick_cases",
    "pick_compared_cases",
    "render_comparison_page",
    "render_evaluation_page",
    "render_moments_page",
    "render_training_page",
    "take_thumbnails",
]

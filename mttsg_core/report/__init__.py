"""Pages: one HTML file each, which needs no network.

cases = pick_cases(comparison)
pictures = dict(take_pictures(cases, folder.find_video))
text = page(comparison, cases, pictures)            # of an evaluation; it loads nothing and runs no script
text = training_page(folder)                        # of a model folder; likewise
text = moments_page(videos, answers, place)         # of answered moments; it plays the videos where they lie
"""

from mttsg_core.report.cases import Case, pick_cases
from mttsg_core.report.evaluation_page import page
from mttsg_core.report.moments_page import AskedVideo, moments_page
from mttsg_core.report.thumbnails import Picture, take_pictures
from mttsg_core.report.training_page import training_page

__all__ = ["AskedVideo", "Case", "Picture", "moments_page", "page", "pick_cases", "take_pictures", "training_page"]

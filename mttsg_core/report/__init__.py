"""The report of an evaluation as one HTML page that needs no network and runs no script.

cases = pick_cases(comparison)
pictures = dict(take_pictures(cases, folder.find_video))
text = page(comparison, cases, pictures)
"""

from mttsg_core.report.cases import Case, pick_cases
from mttsg_core.report.page import page
from mttsg_core.report.pictures import Picture, take_pictures

__all__ = ["Case", "Picture", "page", "pick_cases", "take_pictures"]

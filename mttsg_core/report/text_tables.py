"""Tables as text for papers and other programs: Markdown, LaTeX and csv, of the same cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "≥": r"$\geq$",
    ">": "$>$",
    "<": "$<$",
    "–": "--",
}


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in GitHub's Markdown.

    >>> print(markdown_table(["", "mIoU"], [["a|b", "50.6 ± 0.7"]]), end="")
    | | mIoU |
    | --- | --- |
    | a\\|b | 50.6 ± 0.7 |
    """
    lines = [list(map(_markdown, columns)), ["---"] * len(columns), *(list(map(_markdown, row)) for row in rows)]
    return "".join("| " + " | ".join(cells).lstrip() + " |\n" for cells in lines)


def latex_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a `tabular` with the rules of the package booktabs.

    >>> print(latex_table(["", "mIoU"], [["a_b", "50.6 ± 0.7"]]), end="")
    \\begin{tabular}{lr}
    \\toprule
     & mIoU \\\\
    \\midrule
    a\\_b & 50.6 $\\pm$ 0.7 \\\\
    \\bottomrule
    \\end{tabular}
    """
    begin = rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}"
    body = [_latex_row(columns), r"\midrule", *map(_latex_row, rows)]
    return "\n".join([begin, r"\toprule", *body, r"\bottomrule", r"\end{tabular}", ""])


def csv_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as csv, numbers unrounded and None as nothing.

    >>> csv_table(["name", "p"], [["a, b", 0.1], ["c", None]])
    'name,p\\n"a, b",0.1\\nc,\\n'
    """
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return target.getvalue()


def latex_comment(text: str) -> str:
    """Return lines as a comment of LaTeX."""
    return "".join(f"% {line}\n" for line in text.splitlines())


def _markdown(cell: str) -> str:
    return " ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join("".join(_LATEX.get(character, character) for character in cell) for cell in cells) + r" \\"

"""A picture inside a page of somebody else: a notebook."""

from __future__ import annotations

from scenarios.report import svg
from scenarios.report.picture import Picture

EVENTS = 400
"""So many events are shown; more are too wide to be read."""


def as_html(picture: Picture) -> str:
    """A picture as SVG whose look changes nothing else on the page."""
    drawn = svg.render(picture).replace(svg.STYLE, f"@scope{{{svg.STYLE}}}", 1)
    return f'<div style="max-width:100%;overflow:auto">{drawn}</div>'

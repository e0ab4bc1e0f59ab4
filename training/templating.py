"""The texts that people read in a browser: the profile's page, and the descriptions of runs in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,  # names come from data
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """A file of `templates/`, filled in; what the values hold is escaped for HTML."""
    return _ENVIRONMENT.get_template(template).render(values)

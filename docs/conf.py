"""How Sphinx builds these pages."""

import tomllib
from pathlib import Path

_project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))

project = "meshlib"
author = "the meshlib authors"
copyright = author
html_title = f"{project}: {_project['project']['description'].split(': ')[0]}"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3
nitpicky = True
html_theme = "furo"

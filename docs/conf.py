"""The site: `python -m sphinx -W --keep-going -b html docs docs/_build`.

Building it runs the pages that have changed; with `-E` all of them.
"""

import importlib.metadata
import sys
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

import numpy.typing
import public_names

public_modules = [
    "flatprop",
    "flatprop.interchange",
    "flatprop.kernels",
    "flatprop.losses",
    "flatprop.plot",
    "flatprop.schedules",
    "flatprop.sklearn",
]
# Sphinx spells out what these stand for, over several lines each; their names will do.
aliases = {name: public_names.short_type(name) for name in ("ArrayLike", "DTypeLike", "NDArray")}
with patch.multiple(numpy.typing, **aliases):
    for module in public_modules:
        public_names.public(module)

project = "flatprop"
author = "the flatprop developers"
copyright = "the flatprop developers, BSD 3-Clause License"
version = release = importlib.metadata.version("flatprop")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "mathml",
    "show_results",
    "public_names",
]
exclude_patterns = ["_build", "extensions"]
nitpicky = True
# Types of other packages; the site is built without a network, and so without their indexes.
nitpick_ignore_regex = [("py:.*", r"(?!flatprop\.).*")]
nitpick_ignore = [
    ("py:class", "flatprop.validation.arrays.Views")
]  # what net.weights says it is will do

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_ivar = True
default_role = "code"

html_theme = "furo"
html_title = "flatprop"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_selector = "div:not(.printed) > div.highlight > pre"
copybutton_prompt_text = "$ "

"""How Sphinx makes the pages of this folder: `make docs`. Nothing that a page shows or searches comes from the net."""

project = "prune"
html_title = "prune"
extensions = ["myst_parser"]
myst_heading_anchors = 4
highlight_language = "text"
html_theme = "furo"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
html_show_search_summary = False  # it would be fetched, which a page from disk may not
html_static_path = ["static"]
html_css_files = ["pages.css"]
suppress_warnings = ["toc.not_readable"]  # of pages in the lists of index.md; one that is in no list is still an error

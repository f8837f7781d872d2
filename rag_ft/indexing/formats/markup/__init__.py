"""Plain files with marks for headings, lists and tables. Open `markdown.py` first."""

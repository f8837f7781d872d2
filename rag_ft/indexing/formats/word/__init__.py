"""Word documents. Open `docx.py` first: package, styles, numbering, notes, running text, equations, tables."""

"""Parts of a Word document: package, styles, numbering, notes, running text, equations, tables."""

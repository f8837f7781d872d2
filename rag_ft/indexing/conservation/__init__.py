"""The conservation check: a document's text against an independent, simple reading of its source.

`check.py` compares; `readers/` has one small reader per format, which shares no code with the readers in `formats/`:
one that were wrong in the same way would find nothing. To check another format, add its reader to `SOURCES` in
`check.py`.
"""

"""OpenDocument: texts (ODT), sheets (ODS) and slides (ODP)."""

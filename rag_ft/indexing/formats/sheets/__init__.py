"""Sheets (CSV, XLSX, ODS): rows as lines that name their columns, with the place of every cell."""

"""Text recognition (OCR): pages of PDFs that are only images, and image files, read by the program tesseract.

A sandboxed process draws the pages (`formats.scans`), a bounded one recognises them (`ocr.child`), and the text goes
into the document at its page (`ocr.insertion`).
"""

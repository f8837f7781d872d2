"""Mail: a message's headers, its text and its attachments. Open `letter.py` first."""

from .records import read_questions as read_questions
from .split import Split as Split
from .split import split_by_document as split_by_document

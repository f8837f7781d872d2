from . import adapters as adapters
from . import errors as errors
from . import evaluation as evaluation
from . import indexing as indexing
from . import models as models
from . import questions as questions
from . import training as training
from .adapting.adapt import adapt as adapt
from .answering.pipeline import Pipeline as Pipeline
from .answering.reader import Reader as Reader
from .evaluation.evaluate import evaluate as evaluate
from .indexing.index import Index as Index
from .indexing.retriever import Retriever as Retriever
from .question_generation.make import make_questions as make_questions
from .schema import Answer as Answer
from .schema import Citation as Citation
from .schema import Document as Document
from .schema import Passage as Passage
from .schema import Question as Question
from .training.run import train_reader as train_reader

__version__: str

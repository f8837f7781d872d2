from .chunking import ChunkingConfig as ChunkingConfig
from .corpus import read_corpus as read_corpus
from .embedding import load_embedder as load_embedder
from .index import Index as Index
from .retriever import Retriever as Retriever

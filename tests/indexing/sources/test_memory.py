import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document as LangchainDocument
from read_documents import read

from rag_ft.errors import UsageError
from rag_ft.indexing.corpus import read_corpus


def test_langchain_loaders_and_documents_are_taken():
    class Loader(BaseLoader):
        def lazy_load(self):
            yield LangchainDocument(page_content="One.", metadata={"source": "a.pdf", "page": 2, "extra": {1}})
            yield LangchainDocument(page_content="Two.", metadata={"source": "a.pdf", "page": 3})

    documents, _ = read(Loader())
    assert list(documents) == ["a.pdf#page=3", "a.pdf#page=4"]
    assert len(documents["a.pdf#page=3"].page_starts) == 3
    assert documents["a.pdf#page=3"].metadata["extra"] == [1]
    documents, contents = read([LangchainDocument(page_content="x", id="i"), LangchainDocument(page_content=" "), 3])
    assert list(documents) == ["i"] and len(contents.failures) == 2
    with pytest.raises(UsageError):
        read_corpus(3)


def test_rows_and_pieces_of_one_source_are_documents_of_their_own():
    def pieces(*metadata):
        return read([LangchainDocument(page_content="x", metadata=one) for one in metadata])

    # As langchain's CSVLoader gives rows, and its splitters, without add_start_index, pieces of pages.
    documents, contents = pieces({"source": "a.csv", "row": 0}, {"source": "a.csv", "row": 1})
    assert contents.failures == [] and [*documents] == ["a.csv#row=0", "a.csv#row=1"]
    page = {"source": "a.pdf", "page": 0}
    documents, contents = pieces({"source": "a.md"}, page, {"source": "a.md"}, page, {"source": "a.md"}, {}, {})
    assert contents.failures == []
    assert [*documents] == ["a.md", "a.pdf#page=1", "a.md#2", "a.pdf#page=1#2", "a.md#3", "document-6", "document-7"]

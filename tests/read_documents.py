"""Documents of a source, with what could not be read, for tests of reading."""

from rag_ft.indexing.corpus import read_corpus


def read(source, **options):
    contents = read_corpus(source, **options).read_all()
    return {document.id: document for document in contents.documents}, contents


def one(path):
    documents, contents = read(path)
    assert contents.failures == []
    (document,) = documents.values()
    return document


def reasons(contents):
    for failure in contents.failures:
        assert "\n" not in failure.reason
    return [failure.reason for failure in contents.failures]

"""What PostgreSQL itself may do wrong: each is one sentence, without a password."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import closing
from urllib.parse import parse_qs, urlsplit

import pytest
from cut_network import Relay, relay
from databases import new_database, psql
from fakes import HashingEmbedder
from small_indexes import CHUNKING, DOCUMENTS, document

from rag_ft.errors import IndexFormatError, IndexLockedError, IndexMissingError, IndexStoreError, UsageError
from rag_ft.indexing.building.sentinels import SENTINELS_CHECKED
from rag_ft.indexing.databases.index import DatabaseIndex
from rag_ft.indexing.databases.opening import open_store
from rag_ft.indexing.databases.postgresql_session import PostgresSession, word_vector
from rag_ft.indexing.index import Index
from rag_ft.schema import Document

END_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <>"
    " pg_backend_pid()"
)


@pytest.fixture
def address(postgres: str) -> str:
    return new_database(postgres)


def create(address: str, documents=DOCUMENTS, embedder=None, **options) -> DatabaseIndex:
    return DatabaseIndex.create(
        documents, address, embedder=embedder or HashingEmbedder(), chunking=CHUNKING, progress=False, **options
    )


def refused(address: str, error: type[Exception] = IndexStoreError) -> str:
    """The one sentence of a refusal."""
    with pytest.raises(error) as raised:
        DatabaseIndex.connect(address)
    message = str(raised.value)
    assert "\n" not in message and "s3cret" not in message
    assert raised.value.__cause__ is None or "s3cret" not in str(raised.value.__cause__)
    return message


def test_a_wrong_password_is_told_without_it(postgres: str, address: str) -> None:
    psql(postgres, "CREATE ROLE reader LOGIN PASSWORD 'other'")
    for given in (
        address.replace("postgres:@", "nobody:s3cret@"),
        address.replace("?", "?password=s3cret&").replace("postgres:@", "nobody@"),
        "postgresql://u:s3cret@127.0.0.1:1/db",
        "postgresql://u:s3cret@127.0.0.1:1/db?no_such_option=s3cret",
        "postgresql://u:s3cret@127.0.0.1:1/db%zz",
    ):
        assert "check the address" in refused(given)
    assert "USER:PASSWORD@HOST" in refused("postgresql://u:s3@cret@h/db", UsageError)


def test_a_database_without_the_extension_says_how_to_get_it(postgres: str, address: str) -> None:
    psql(postgres, "CREATE ROLE plain LOGIN")
    plain = address.replace("postgres:@", "plain@")
    assert "there is no index at" in refused(plain, IndexMissingError)
    with pytest.raises(IndexStoreError, match=r"does not have the extension 'vector' \(pgvector\)") as raised:
        create(plain)
    assert "CREATE EXTENSION vector" in str(raised.value) and "permission denied" in str(raised.value)


def test_an_extension_in_a_schema_that_the_user_does_not_search_is_said(postgres: str, address: str) -> None:
    create(address)
    psql(postgres, "CREATE ROLE elsewhere LOGIN SUPERUSER")
    psql(postgres, "ALTER ROLE elsewhere SET search_path TO nowhere")
    assert "add that schema to the user's search_path" in refused(address.replace("postgres:@", "elsewhere@"))


def test_a_document_whose_id_the_database_cannot_hold_is_named(address: str) -> None:
    index = create(address)
    before = index.fingerprint
    with pytest.raises(UsageError, match=r"the document 'n\\x00ul' cannot be kept in PostgreSQL"):
        index.add([document("n\0ul")], progress=False)
    assert index.newest().fingerprint == before
    index.add([document("a.md").model_copy(update={"text": "A NUL \0 in a text."})], progress=False)
    assert index.document("a.md").text == "A NUL \0 in a text."


def test_an_empty_database_has_no_index(address: str) -> None:
    assert "there is no index at" in refused(address, IndexMissingError)
    assert not psql(address, "SELECT 1 FROM pg_extension WHERE extname = 'vector'")  # reading creates nothing


@pytest.mark.parametrize(
    ("table", "read"),
    [
        ("rag_ft", lambda index: index.search("rule 2")),
        ("rag_ft_passages", lambda index: index.search("rule 2")),
        ("rag_ft_passages", lambda index: index.passages_of("a.md")),
        ("rag_ft_documents", lambda index: index.document("a.md")),
    ],
)
def test_a_removed_table_is_told(address: str, table: str, read) -> None:
    index = create(address)
    psql(address, f"DROP TABLE {table} CASCADE")
    with pytest.raises(IndexMissingError, match="there is no index at"):
        read(index)


def test_a_table_of_another_dimension_is_refused(address: str) -> None:
    create(address)
    with pytest.raises(IndexStoreError, match=r"built with the embedder hashing \(64 dimensions\), not with"):
        create(address, embedder=HashingEmbedder(dimension=32))
    psql(address, "TRUNCATE rag_ft")  # the settings are gone, the table of passages is there
    with pytest.raises(IndexStoreError, match="holds documents, but its settings are gone: drop the tables"):
        create(address)
    psql(address, "TRUNCATE rag_ft_documents CASCADE")
    with pytest.raises(IndexStoreError, match="holds vectors of 64 dimensions, and the embedder gives 32"):
        create(address, [document("x.md")], embedder=HashingEmbedder(dimension=32))


def test_a_newer_format_and_damaged_settings_are_refused(address: str) -> None:
    create(address)
    settings = psql(address, "SELECT settings FROM rag_ft")[0][0]
    psql(address, "UPDATE rag_ft SET settings = %s", json.dumps(settings | {"format": 9}))
    assert "format 9 of a newer rag_ft" in refused(address, IndexFormatError)
    psql(address, "UPDATE rag_ft SET settings = %s", json.dumps(settings | {"embedder": 3}))
    assert "are not what rag_ft writes" in refused(address)
    psql(address, "UPDATE rag_ft SET settings = %s", json.dumps(settings))
    psql(address, "UPDATE rag_ft_documents SET entry = '{}' WHERE id = 'a.md'")
    assert "holds what rag_ft never writes" in refused(address)


def test_a_reader_without_rights_is_told(postgres: str, address: str) -> None:
    create(address)
    psql(postgres, "CREATE ROLE guest LOGIN")
    assert "may not do this" in refused(address.replace("postgres:@", "guest@"))


class CutsTheConnection(HashingEmbedder):
    """Ends every other connection to its database while it embeds."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address

    def encode_passages(self, texts):
        if len(texts) > SENTINELS_CHECKED:  # they are embedded first
            psql(self.address, END_CONNECTIONS)
        return super().encode_passages(texts)


def test_a_connection_cut_while_embedding_leaves_the_index_as_it_was(address: str) -> None:
    index = create(address)
    before = index.fingerprint
    later = [document(f"{name}.md", 1) for name in "abc"]
    with pytest.raises(IndexStoreError, match="an unfinished change has left the index as it was"):
        create(address, later, CutsTheConnection(address))
    assert index.newest().fingerprint == before and index.verify().ok
    embedder = HashingEmbedder()
    assert create(address, later, embedder).build_report.passages_embedded == 0  # the journal has them
    assert create(address, later).verify().ok


def test_a_connection_cut_in_the_middle_of_the_write_leaves_the_index_as_it_was(address: str, monkeypatch) -> None:
    from rag_ft.indexing.databases.postgresql import PostgresWriter

    index = create(address)
    before = index.fingerprint
    original = PostgresWriter._index_vectors

    def cut(self, cursor, settings) -> None:
        original(self, cursor, settings)
        pid = self._connection.info.backend_pid
        psql(address, "SELECT pg_terminate_backend(%s)", pid)

    monkeypatch.setattr(PostgresWriter, "_index_vectors", cut)
    with pytest.raises(IndexStoreError, match="an unfinished change has left the index as it was"):
        index.add([document("a.md", 1), document("z.md")], progress=False)
    monkeypatch.undo()
    assert index.newest().fingerprint == before and index.verify().ok
    index.add([document("a.md", 1), document("z.md")], progress=False)
    assert len([*index.documents()]) == 7 and index.verify().ok


def test_a_network_cut_in_the_middle_of_a_write_leaves_the_index_as_it_was(postgres: str, address: str) -> None:
    """At a quarter, half and nine tenths of the bytes that the whole change sends over TCP."""
    later = [document("a.md", 1), *(document(f"{i}.md") for i in range(40))]
    with relay(parse_qs(urlsplit(postgres).query)["host"][0] + "/.s.PGSQL.5432") as network:
        rehearsed = DatabaseIndex.connect(over(network, new_database(postgres), create), embedder=HashingEmbedder())
        sent = network.passed["up"]
        rehearsed.add(later, progress=False)
        sent = network.passed["up"] - sent
        before = create(address).fingerprint
        for share in (0.25, 0.5, 0.9):
            index = DatabaseIndex.connect(over(network, address), embedder=HashingEmbedder())
            network.cut_after("up", round(share * sent))
            with pytest.raises(IndexStoreError, match="an unfinished change has left the index as it was") as raised:
                index.add(later, progress=False)
            assert network.is_down and "\n" not in str(raised.value)
            network.mend()
            kept = DatabaseIndex.connect(address, embedder=HashingEmbedder())
            assert kept.fingerprint == before and kept.verify().ok
        index = DatabaseIndex.connect(over(network, address), embedder=HashingEmbedder())
        index.add(later, progress=False)
        assert index.verify().ok and index.fingerprint == rehearsed.newest().fingerprint


def over(network: Relay, address: str, prepare: Callable[[str], object] | None = None) -> str:
    """The address of a database through a relay; `prepare` is called with its own address before."""
    if prepare is not None:
        prepare(address)
    return f"postgresql://postgres@127.0.0.1:{network.port}{urlsplit(address).path}"


def test_the_driver_is_told_to_give_up_a_silent_network_within_two_minutes_unless_the_address_says_otherwise(
    address: str,
) -> None:
    create(address)

    def told(address: str) -> dict[str, str]:
        with closing(open_store(address)._connect()) as connection:
            return connection.info.get_parameters()

    usual = told(address)
    idle, interval, count = (int(usual[f"keepalives_{name}"]) for name in ("idle", "interval", "count"))
    assert idle + interval * count <= 120 and usual["tcp_user_timeout"] == "60000"
    assert told(f"{address}&tcp_user_timeout=5000")["tcp_user_timeout"] == "5000"


def test_a_server_that_was_restarted_is_reached_again(address: str) -> None:
    index = create(address)
    hits = index.search("rule 2")
    psql(address, END_CONNECTIONS)
    assert index.search("rule 2") == hits


def test_a_second_writer_waits_and_gives_up_in_time(address: str) -> None:
    index = create(address)
    store = open_store(address)
    with store.writing(1.0):
        started = time.monotonic()
        with pytest.raises(IndexLockedError, match="another process is writing the index at"):
            index.remove("a.md", lock_timeout_s=0.3)
        assert time.monotonic() - started < 5
        assert index.search("rule 2")  # readers do not wait
        waiting = threading.Thread(target=lambda: index.remove("a.md", lock_timeout_s=60))
        waiting.start()
    waiting.join()
    assert "a.md" not in [*index.newest().documents()]


def test_indexes_of_other_names_are_apart(address: str) -> None:
    create(address)
    other = create(f"{address}#other", DOCUMENTS[:2])
    other.remove("a.md")
    assert len([*DatabaseIndex.connect(address).documents()]) == 6
    assert other.place.endswith("#other")


def test_an_approximate_index_says_its_recall_and_its_parts_are_exact(address: str) -> None:
    documents = [document(f"{i}.md", i % 7, access=["ops"] if i % 2 else ["web"]) for i in range(60)]
    exact, hnsw = create(f"{address}#exact", documents), create(f"{address}#hnsw", documents, kind="hnsw")
    assert hnsw.manifest.kind == "hnsw" and 0.9 <= hnsw.manifest.recall_at_10 <= 1
    assert psql(address, "SELECT 1 FROM pg_indexes WHERE indexname = 'hnsw_hnsw'")
    for query in ("rule 2 for 5.md", "version 3", "security"):
        wanted = exact.visible_to("ops").search(query, 9, mode="dense")
        assert hnsw.visible_to("ops").search(query, 9, mode="dense") == wanted
        assert hnsw.search(query, 1000, mode="dense") == exact.search(query, 1000, mode="dense")
        where = {"access": "web"}
        assert hnsw.search(query, 9, mode="dense", where=where) == exact.search(query, 9, mode="dense", where=where)
    flat = create(f"{address}#hnsw", documents, kind="flat")
    assert flat.manifest.kind == "flat" and flat.manifest.recall_at_10 == 1
    with pytest.raises(UsageError, match=r"cannot be of the kind 'ivf-pq': use flat or hnsw"):
        create(address, kind="ivf-pq")
    with pytest.raises(IndexStoreError, match="up to 2000 dimensions"):
        create(f"{address}#large", [document("a.md")], HashingEmbedder(dimension=2001), kind="hnsw")


def test_recall_is_measured_with_the_effort_that_searches_have(address: str, monkeypatch) -> None:
    efforts = []
    nearest = PostgresSession.nearest

    def seen(session, vector, k, documents, exact):
        found = nearest(session, vector, k, documents, exact)
        if not exact:
            efforts.append(session.all("SHOW hnsw.ef_search")[0][0])
        return found

    monkeypatch.setattr(PostgresSession, "nearest", seen)
    create(address, kind="hnsw").search("rule 2", mode="dense")
    assert len(efforts) > 1 and {*efforts} == {"100"}


def test_words_become_a_tsvector_whatever_they_hold() -> None:
    assert word_vector(["it's", "a\\b", "it's"]) == "'it''s':1,3 'a\\\\b':2"
    assert word_vector(["x" * 501]) == ""


def test_passages_that_stand_equal_are_ranked_as_in_a_folder_wherever_the_server_keeps_them(address, tmp_path):
    documents = [Document(id=f"{i:02}.txt", text=f"Word{i} stands alone here.") for i in range(60)]
    index = create(address, documents)
    folder = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder(), chunking=CHUNKING, progress=False)
    psql(address, "UPDATE rag_ft_passages SET position = position WHERE document < 40")  # moves them behind the others
    # All but one of the passages share no word with the query.
    assert index.search("zebra", 7, mode="dense") == folder.search("zebra", 7, mode="dense")

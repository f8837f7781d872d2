"""An index in a database that others keep: PostgreSQL with pgvector, or a LanceDB folder.

`address.py` opens one, `index.py` is what a retriever and the pipeline get, `store.py` says what a database must do,
`postgresql.py` and `lance.py` do it.
"""

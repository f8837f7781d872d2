"""`python -m rag_ft`: the command line."""

from rag_ft.cli import main

main()

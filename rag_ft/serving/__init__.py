"""Serve answers to other people and programs: an HTTP server with a web page, an OpenAI-compatible endpoint, MCP tools.

Requests become calls of the pipeline and answers become replies; nothing here decides what an answer is. Start with
`app.py`.
"""

"""Answers for other people and other programs: an HTTP server with a page, an OpenAI-compatible endpoint, MCP tools.

Nothing here decides what an answer is: requests become calls of the pipeline, answers become replies.
"""

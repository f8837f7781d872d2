"""Concerns of HTTP: security headers and tokens, connections, metrics, the OpenAPI document."""

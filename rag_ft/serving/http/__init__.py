"""HTTP around the routes: listening, connections, tokens, rights, security headers, metrics, the OpenAPI document."""

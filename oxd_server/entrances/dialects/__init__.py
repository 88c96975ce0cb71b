"""The dialects of the HTTP API: each turns a request into a command, and a response into a status and a body."""

"""A server for the oxd protocol: OpenID Connect and UMA 2.0 for the application beside it."""

__version__ = "5.0.0.dev0"

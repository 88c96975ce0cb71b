"""A UMA authorization server, beside the provider."""

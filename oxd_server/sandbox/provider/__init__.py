"""An OpenID provider."""

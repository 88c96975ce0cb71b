"""The relying party's side of OpenID Connect: everything that goes to an OP or comes from one."""

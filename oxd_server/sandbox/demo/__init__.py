"""A relying party that uses the oxd socket."""

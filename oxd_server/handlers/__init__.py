"""One plain function per command. The checks live in ``op``; handlers put them together."""

"""The entrances: sockets and HTTP in, commands out to dispatch."""

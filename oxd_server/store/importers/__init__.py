"""Reading the sites that an old server left: from JSON, its H2 database, a dump of either, or the running server."""

"""From a command's name and raw params to its response: the checks, the routes, the errors of the wire."""

"""What an operator sees of the server: the lines of commands, outages of OPs, figures, traces, readiness."""

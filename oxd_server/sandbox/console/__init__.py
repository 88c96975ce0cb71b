"""The console: a person sends one command after the other in a browser, and sees what each of them did."""

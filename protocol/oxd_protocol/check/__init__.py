"""The conformance runner: drives any client program against a scripted server, and says which wire rule it breaks.

``sent`` judges the bytes that the program sends, ``scenarios`` has the answers that it gets, ``scripted_server`` gives
them, ``runner`` runs the program once for each and judges what it made of them.
"""

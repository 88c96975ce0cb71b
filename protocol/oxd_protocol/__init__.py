"""The oxd wire contract: framing, envelopes and every command.

No I/O happens here but in ``client`` and ``check``, which are for programs on the other side of the socket.
"""

__version__ = "5.0.0.dev0"

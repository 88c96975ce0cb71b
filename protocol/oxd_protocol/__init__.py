"""The oxd wire contract: framing, envelopes and every command. No I/O happens here."""

"""What a scripted OP does beside answering well, and resolvers that know what they are told."""

import trio

__all__ = ["addresses", "hang_up", "raw_bytes"]


def raw_bytes(data, *, then_hang=False):
    async def reply(stream):
        await stream.send_all(data)
        if then_hang:
            await trio.sleep_forever()

    return reply


def addresses(*found):
    async def resolve(host, port):
        return list(found)

    return resolve


async def hang_up(stream):
    """Close the connection without a word."""

"""The only place that builds things, and the root of every task.

``serving`` runs a server, ``supervising`` several of them behind the same sockets. ``building`` makes the parts of a
server from its configuration, ``listening`` its sockets.
"""

from oxd_server.app.serving import Running, serve
from oxd_server.app.supervising import supervise

__all__ = ["Running", "serve", "supervise"]

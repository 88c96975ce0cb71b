"""The certificates that sites show in TLS."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from oxd_server.op.client_identity import ClientIdentity
from oxd_server.store.base import Site

__all__ = ["ClientCertificates"]


class ClientCertificates(msgspec.Struct, frozen=True):
    """Those of single sites, by oxd_id, and of sites at one OP, by its host, with the port if one is named.

    All others show `for_all`. Which one a site shows is the operator's choice, never the site's: with it, a site can
    act as the client that the certificate belongs to.
    """

    for_all: ClientIdentity | None = None
    named: Mapping[str, ClientIdentity] = {}

    def of(self, site: Site) -> ClientIdentity | None:
        """Return the certificate that counts for the site, None if there is none."""
        if not self.named:
            return self.for_all
        return self.named.get(site.oxd_id) or self.named.get(urlsplit(site.op_host).netloc) or self.for_all

"""What an OP publishes, as it stands: to be handed on, not to be acted upon.

Specifications: OpenID Connect Discovery 1.0 sections 2 and 4, RFC 7033 (WebFinger), RFC 7517.
"""

from typing import Any
from urllib.parse import quote, urlsplit

from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, discovery_url, required
from oxd_server.op.transport import MAX_REDIRECTS

__all__ = ["ISSUER_REL", "discovery_document", "issuer_links", "published_keys"]

ISSUER_REL = "http://openid.net/specs/connect/1.0/issuer"


async def discovery_document(op: OpContext, op_host: str, op_discovery_path: str | None) -> dict[str, object]:
    """The OP's discovery document, every member as it is.

    Raises:
        InvalidOpHost, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url = discovery_url(op_host, op_discovery_path)
    answer = await op.transport.send("GET", url, step="discovery", shared=True, redirects=MAX_REDIRECTS)
    answer.expect(200)
    return answer.json_object()


async def published_keys(op: OpContext, metadata: ProviderMetadata) -> list[dict[str, Any]]:
    """The keys of the OP's JWK Set, each as it is.

    Raises:
        OpMetadataMissing, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    answer = await op.transport.send(
        "GET",
        required(metadata, "jwks_uri"),
        step="key set",
        within=metadata.reach,
        headers={"accept": "application/jwk-set+json, application/json"},
        shared=True,
        redirects=MAX_REDIRECTS,
    )
    answer.expect(200)
    keys = answer.json_object().get("keys")
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise answer.invalid("the key set has no keys")
    return keys


async def issuer_links(op: OpContext, resource: str, op_host: str) -> tuple[str, list[tuple[str, str]]]:
    """The subject and the links (rel, href) of the WebFinger answer about `resource`.

    Discovery 1.0 section 2.1: the host is that of the e-mail address or the URL. It is asked over plain http only where
    the OP itself is at that very place.

    Raises:
        ValueError: the resource has no host.
        InvalidOpHost, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    subject, host = _subject_and_host(resource)
    base = op_host if urlsplit(op_host).netloc == host else f"https://{host}"
    query = f"resource={quote(subject, safe='')}&rel={quote(ISSUER_REL, safe='')}"
    url = f"{urlsplit(base).scheme}://{host}/.well-known/webfinger?{query}"
    headers = {"accept": "application/jrd+json, application/json"}
    answer = await op.transport.send("GET", url, step="WebFinger", headers=headers, shared=True)
    answer.expect(200)
    document = answer.json_object()
    links = document.get("links")
    found = [
        (rel, href)
        for link in (links if isinstance(links, list) else [])
        if isinstance(link, dict)
        and isinstance(rel := link.get("rel"), str)
        and isinstance(href := link.get("href"), str)
    ]
    told = document.get("subject")
    return told if isinstance(told, str) else subject, found


def _subject_and_host(resource: str) -> tuple[str, str]:
    """Discovery 1.0 section 2.1.2: an identifier with an @ and no scheme is an acct URI, any other one https."""
    if "://" not in resource and "@" in resource:
        subject = resource if resource.startswith("acct:") else f"acct:{resource}"
        return subject, resource.rpartition("@")[2]
    subject = resource if "://" in resource else f"https://{resource}"
    host = urlsplit(subject).netloc
    if not host or "@" in host:
        raise ValueError("the resource names no host")
    return subject, host

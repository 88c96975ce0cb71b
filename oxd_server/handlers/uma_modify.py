"""``uma_rs_modify``: other scopes for one protected resource, first at the authorization server (AS), then here."""

from contextlib import suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from oxd_protocol.errors import CommandError
from oxd_protocol.oxd_id import OxdIdResult
from oxd_protocol.uma import UmaRsModifyParams
from oxd_server.op.errors import OpErrorResponse
from oxd_server.op.uma import ResourceDescription, update_resource
from oxd_server.rp.pat import ProtectionApi
from oxd_server.rp.services import Services
from oxd_server.rp.uma_rules import InvalidScopeExpression, find_resource, parse_scope_expression, resource_name
from oxd_server.store.base import Site, SiteNotFound, UmaResource

__all__ = ["uma_rs_modify"]

_BAD_REQUEST = 400


async def uma_rs_modify(services: Services, params: UmaRsModifyParams) -> OxdIdResult:
    """Change what the resource of a path and method needs: scopes, or an expression, which comes as JSON text."""
    wanted = _wanted(params)
    async with services.under_way.site_locks.hold(params.oxd_id):
        site = await services.site(params.oxd_id)
        found = find_resource(site.uma_protected_resources, params.path, params.http_method)
        if found is None:
            raise CommandError("invalid_request", "Resource is not protected. Protect it first with uma_rs_protect.")
        changed = replace(found, **wanted)
        await _update(services, site, changed)
        try:
            await services.store.change(site.oxd_id, lambda newest: _with_resource(newest, changed))
        except SiteNotFound:
            raise CommandError("invalid_oxd_id") from None  # it was removed meanwhile
    return OxdIdResult(oxd_id=params.oxd_id)


def _wanted(params: UmaRsModifyParams) -> dict[str, Any]:
    if params.scope_expression is None:
        if not params.scopes:
            raise CommandError("invalid_request", "Send scopes or a scope_expression.")
        return {"scopes": params.scopes, "ticket_scopes": (), "scope_expression": None}
    try:
        text = parse_scope_expression(_as_json(params.scope_expression)).as_text()
    except InvalidScopeExpression as error:
        raise CommandError("invalid_scope_expression", f"The scope_expression is not valid: {error}.") from None
    return {"scopes": (), "ticket_scopes": params.scopes, "scope_expression": text}


def _as_json(expression: Any) -> Any:
    """Return the expression that stands in a text; the documents of oxd show it with single quotes."""
    if not isinstance(expression, str):
        return expression
    for text in (expression, expression.replace("'", '"')):
        with suppress(msgspec.DecodeError, RecursionError):
            return msgspec.json.decode(text)
    return expression


async def _update(services: Services, site: Site, resource: UmaResource) -> None:
    """Tell the AS. Keycloak refuses members that it does not know."""
    metadata = await services.uma_metadata_of(site)
    api = ProtectionApi(services, site, metadata)
    scopes = [*resource.scopes, *resource.ticket_scopes]
    if resource.scope_expression is not None:
        scopes = [*parse_scope_expression(resource.scope_expression).data, *scopes]
    plain = ResourceDescription(
        name=resource_name(resource.http_methods, resource.path), resource_scopes=tuple(dict.fromkeys(scopes))
    )
    full = replace(plain, scope_expression=resource.scope_expression, iat=resource.iat, exp=resource.exp)
    try:
        await api.call(lambda pat: update_resource(services.op, metadata, pat, resource.id, full))
    except OpErrorResponse as error:
        if error.status != _BAD_REQUEST or full == plain:
            raise
        await api.call(lambda pat: update_resource(services.op, metadata, pat, resource.id, plain))


def _with_resource(site: Site, changed: UmaResource) -> Site:
    resources = tuple(changed if one.id == changed.id else one for one in site.uma_protected_resources)
    return replace(site, uma_protected_resources=resources)

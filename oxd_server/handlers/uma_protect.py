"""``uma_rs_protect``: registering an application's resources at the authorization server (AS), all or nothing.

The order makes every interruption harmless. The new resources are registered first, while the old protection stands;
one change of the store then puts the new one in its place; what is not needed any more is deleted at the AS last. Until
the store has changed, everything that was registered is taken back, whatever went wrong.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial

import trio
from msgspec.structs import replace

from oxd_protocol.errors import CommandError
from oxd_protocol.oxd_id import OxdIdResult
from oxd_protocol.uma import Condition, Resource, UmaRsProtectParams
from oxd_server.op.errors import OpError, OpErrorResponse, OpInvalidResponse
from oxd_server.op.uma import (
    ResourceDescription,
    delete_resource,
    list_resources,
    read_resource,
    register_resource,
    update_resource,
)
from oxd_server.op.uma_discovery import UmaMetadata
from oxd_server.rp.pat import ProtectionApi
from oxd_server.rp.services import Services
from oxd_server.rp.uma_rules import (
    InvalidScopeExpression,
    normalized_method,
    parse_scope_expression,
    repeated_method,
    resource_name,
)
from oxd_server.store.base import Site, StoreError, UmaResource

__all__ = ["uma_rs_protect"]

_BAD_REQUEST = 400
_CONFLICT = 409
_SERVER_ERROR = 500
_MARK_BYTES = 8
_MAX_READ = 200
_MAX_CONDITIONS = 500


async def uma_rs_protect(services: Services, params: UmaRsProtectParams) -> OxdIdResult:
    """Protect resources: those of this command, and with ``overwrite`` no others."""
    wanted = _wanted(params.resources)
    async with services.under_way.site_locks.hold(params.oxd_id):
        site = await services.site(params.oxd_id)
        if site.uma_protected_resources and not params.overwrite:
            raise CommandError("uma_protection_exists")
        metadata = await services.uma_metadata_of(site)
        registration = _Registration(services, site, metadata)
        try:
            for condition in wanted:
                await registration.add(condition)
            await registration.keep()
            registration.say_what_does_not_expire()
        finally:
            if not registration.kept:
                await registration.take_back()
        await registration.tidy_up()
    empty = [resource.path for resource in params.resources if not resource.conditions]
    if empty:
        services.log.warning("paths_without_conditions", oxd_id=site.oxd_id, paths=empty)
    return OxdIdResult(oxd_id=site.oxd_id)


def _wanted(resources: Iterable[Resource]) -> list[UmaResource]:
    """The conditions to register, checked; raises ``CommandError``. A path without conditions has none to register."""
    wanted = [_checked(resource, condition) for resource in resources for condition in resource.conditions]
    if not wanted:
        raise CommandError("invalid_uma_request")
    if len(wanted) > _MAX_CONDITIONS:
        raise CommandError("invalid_request", f"At most {_MAX_CONDITIONS} conditions can be registered by one command.")
    repeated = repeated_method(wanted)
    if repeated is not None:
        path, method = repeated
        raise CommandError("http_method_not_unique", f"{path[:200]!r} has more than one condition for {method[:20]!r}.")
    return wanted


def _checked(resource: Resource, condition: Condition) -> UmaResource:
    where = f"A condition of the path {resource.path[:200]!r}"
    if not condition.http_methods:
        raise CommandError("invalid_http_method", f"{where} names no httpMethods.")
    expression = None
    if condition.scope_expression is not None:
        try:
            expression = parse_scope_expression(condition.scope_expression).as_text()
        except InvalidScopeExpression as error:
            raise CommandError("invalid_scope_expression", f"The scope_expression is not valid: {error}.") from None
    elif not condition.scopes:
        raise CommandError("invalid_request", f"{where} has neither scopes nor a scope_expression.")
    return UmaResource(
        id="",
        path=resource.path,
        http_methods=tuple(normalized_method(method) for method in condition.http_methods),
        scopes=condition.scopes,
        ticket_scopes=condition.ticket_scopes,
        scope_expression=expression,
        iat=resource.iat,
        exp=resource.exp,
    )


class _Registration:
    """What one command registers at the AS, until it is kept or taken back."""

    def __init__(self, services: Services, site: Site, metadata: UmaMetadata) -> None:
        self._services = services
        self._site = site
        self._metadata = metadata
        self._api = ProtectionApi(services, site, metadata)
        self._mark = services.random(_MARK_BYTES).hex()
        self._registered: list[UmaResource] = []
        self._with_other_names: list[UmaResource] = []
        self._uncertain = False
        self._plain = False
        self.kept = False

    async def add(self, condition: UmaResource) -> None:
        """Register one condition. Raises ``OpError``."""
        self._uncertain = True  # until the AS has answered, nobody knows whether it has the resource
        try:
            resource = await self._register(condition, _name_of(condition))
        except OpErrorResponse as error:
            if error.status != _CONFLICT:
                self._uncertain = error.status >= _SERVER_ERROR
                raise
            # Keycloak wants names to be unique, and the old protection may still have this one.
            resource = await self._register(condition, f"{_name_of(condition)} ({self._mark})")
            self._with_other_names.append(resource)
        self._registered.append(resource)
        self._uncertain = False

    async def _register(self, condition: UmaResource, name: str) -> UmaResource:
        try:
            return await self._send(condition, name)
        except OpErrorResponse as error:
            if error.status != _BAD_REQUEST or self._plain:
                raise
        self._plain = True  # Keycloak refuses members that it does not know
        return await self._send(condition, name)

    async def _send(self, condition: UmaResource, name: str) -> UmaResource:
        description = self._described(condition, name)
        register = partial(register_resource, self._services.op, self._metadata, resource=description)
        return replace(condition, id=await self._api.call(lambda pat: register(pat=pat)))

    def _described(self, condition: UmaResource, name: str) -> ResourceDescription:
        scopes = [*condition.scopes, *condition.ticket_scopes]
        if condition.scope_expression is not None:
            scopes = [*parse_scope_expression(condition.scope_expression).data, *scopes]
        description = ResourceDescription(name=name, resource_scopes=tuple(dict.fromkeys(scopes)))
        if self._plain:
            return description
        return replace(
            description,
            description=self._description,
            scope_expression=condition.scope_expression,
            iat=condition.iat,
            exp=condition.exp,
        )

    def say_what_does_not_expire(self) -> None:
        """Name in the log the dates that have no effect. What has expired stays protected: the AS decides."""
        now, log = self._services.now(), self._services.log
        for resource in self._registered:
            if self._plain and (resource.iat, resource.exp) != (None, None):
                log.warning("resource_dates_without_effect", **self._dates_of(resource))
            elif resource.exp is not None and resource.exp <= now:
                log.warning("resource_expired", **self._dates_of(resource))

    def _dates_of(self, resource: UmaResource) -> dict[str, object]:
        return {"oxd_id": self._site.oxd_id, "path": resource.path, "iat": resource.iat, "exp": resource.exp}

    @property
    def _description(self) -> str:
        return f"Protected through oxd, {self._mark}"

    async def keep(self) -> None:
        """Put the new protection in the old one's place. Raises ``StoreError``, and then nothing has changed."""
        resources = tuple(self._registered)
        with trio.CancelScope(shield=True):  # a write that is interrupted may be done or not done
            await self._services.store.change(
                self._site.oxd_id, lambda newest: replace(newest, uma_protected_resources=resources)
            )
            self.kept = True

    async def take_back(self) -> None:
        """Delete at the AS what this command registered, also when the command was cancelled.

        As well as can be: what stays behind harms nothing, for nothing here refers to it, and the log names it.
        """
        await self._clean_up(self._registered, [], find_lost=self._uncertain)

    async def tidy_up(self) -> None:
        """Delete the old protection at the AS, as well as can be, and give the new one the names it left free."""
        await self._clean_up(self._site.uma_protected_resources, self._with_other_names, find_lost=False)

    async def _clean_up(
        self, unneeded: Iterable[UmaResource], to_rename: Iterable[UmaResource], *, find_lost: bool
    ) -> None:
        ids = [resource.id for resource in unneeded if resource.id]
        work = _CleanUp(self._services, self._site, self._metadata)
        seconds = self._services.config.op_total_timeout_in_seconds
        with trio.move_on_after(seconds, shield=True) as scope:
            try:
                for resource_id in ids:
                    await work.delete(resource_id)
                for resource in to_rename:
                    await work.describe(resource.id, self._described(resource, _name_of(resource)))
                if find_lost:
                    await work.delete_described(self._description, known=[*ids, *_ids_of(self._site)])
            except _FAILURES as error:
                self._warn(str(error))
        if scope.cancelled_caught:
            self._warn("it took too long")

    def _warn(self, reason: str) -> None:
        self._services.log.warning(
            "resources_left_behind",
            oxd_id=self._site.oxd_id,
            description=self._description,
            reason=reason,
        )


class _CleanUp:
    """Requests whose failure harms nothing. An AS that does not answer is not asked for the rest: ``OpUnreachable``."""

    def __init__(self, services: Services, site: Site, metadata: UmaMetadata) -> None:
        self._services = services
        self._metadata = metadata
        self._oxd_id = site.oxd_id
        self._api = ProtectionApi(services, site, metadata)

    async def delete(self, resource_id: str) -> None:
        """Delete a resource."""
        op, metadata = self._services.op, self._metadata
        failed = await self._attempt(lambda pat: delete_resource(op, metadata, pat, resource_id))
        if failed is not None:
            self._services.log.warning(
                "resource_not_deleted", oxd_id=self._oxd_id, resource_id=resource_id, reason=str(failed)
            )

    async def describe(self, resource_id: str, description: ResourceDescription) -> None:
        """Replace the description of a resource."""
        op, metadata = self._services.op, self._metadata
        failed = await self._attempt(lambda pat: update_resource(op, metadata, pat, resource_id, description))
        if failed is not None:  # something else has the short name
            self._services.log.warning(
                "resource_not_renamed", oxd_id=self._oxd_id, resource_id=resource_id, reason=str(failed)
            )

    async def delete_described(self, description: str, known: Collection[str]) -> None:
        """Delete the resource that the AS registered without telling us its id."""
        op, metadata = self._services.op, self._metadata
        ids = await self._api.call(lambda pat: list_resources(op, metadata, pat))
        for resource_id in [one for one in ids if one not in known][:_MAX_READ]:
            found = await self._api.call(partial(read_resource, op, metadata, resource_id=resource_id))
            if found.get("description") == description:
                await self.delete(resource_id)

    async def _attempt(self, request: Callable[[str], Awaitable[None]]) -> OpError | None:
        """Return why the authorization server did not do it; None if it did."""
        try:
            await self._api.call(request)
        except (OpErrorResponse, OpInvalidResponse) as error:
            return error
        return None


_FAILURES = (OpError, StoreError)


def _name_of(condition: UmaResource) -> str:
    return resource_name(condition.http_methods, condition.path)


def _ids_of(site: Site) -> list[str]:
    return [resource.id for resource in site.uma_protected_resources]

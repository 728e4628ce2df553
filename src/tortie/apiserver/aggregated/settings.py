"""The web console's settings: whose they are, and who may see them.

In: calls on UISettings. Out: their user and owner set; nothing, a `Scope` or a 403: the right to a setting is the right
to `data` of its group (spec/apiserver-controllers-clis.md 1.8).
"""

import asyncio

from tortie.apiserver import errors
from tortie.apiserver.calico import prepared
from tortie.apiserver.context import Call, Scope
from tortie.apiserver.kinds import Hooks, Object
from tortie.apiserver.rbac import Attributes
from tortie.apiserver.records import Record
from tortie.apiserver.selectors import parse_fields
from tortie.apiserver.tiers import Ask
from tortie.model.catalog import UI_SETTINGS, UI_SETTINGS_GROUPS
from tortie.model.serving import ServingMode

_GROUPS = f"{UI_SETTINGS_GROUPS.group}/{UI_SETTINGS_GROUPS.plural}"


def _group(call: Call, name: str) -> Object | None:
    return call.context.read(_GROUPS, "", name)


def _by_user(group: Object | None) -> bool:
    return group is not None and (group.get("spec") or {}).get("filterType") == "User"


def _group_of(obj: Object) -> str:
    spec = obj.get("spec")
    return str(spec.get("group") or "") if isinstance(spec, dict) else ""


async def _may(call: Call, ask: Ask, group: str) -> bool:
    where = (UI_SETTINGS_GROUPS.group, UI_SETTINGS_GROUPS.plural)
    answers = await asyncio.gather(
        ask(call, Attributes("get", *where, "", group)), ask(call, Attributes(call.info.verb, *where, "data", group))
    )
    return all(answers)


def _refusal(call: Call, group: str, name: str) -> errors.StatusError:
    return errors.forbidden(
        UI_SETTINGS.group,
        UI_SETTINGS.plural,
        name,
        f'User "{call.user.name}" cannot {call.info.verb} {UI_SETTINGS.plural}.{UI_SETTINGS.group} in '
        f'{UI_SETTINGS_GROUPS.plural}.{UI_SETTINGS_GROUPS.group} "{group}"',
    )


async def _check(call: Call, ask: Ask, obj: Object, *, stored: bool) -> None:
    group, name = _group_of(obj), obj["metadata"].get("name", "")
    if not await _may(call, ask, group):
        raise _refusal(call, group, name)
    owner = (obj.get("spec") or {}).get("user") if stored else None
    if _by_user(_group(call, group)) and owner and owner != call.user.name:
        raise errors.not_found(
            UI_SETTINGS.group, UI_SETTINGS.plural, name
        )  # another user's does not exist for this one


def hooks(ask: Ask) -> Hooks:
    """The rules of UISettings."""

    async def authorize(call: Call, new: Object | None, old: Object | None) -> None:
        if call.info.verb == "deletecollection":
            return
        if old is not None:
            await _check(call, ask, old, stored=True)
        elif new is not None:
            await _check(call, ask, new, stored=False)

    async def read(call: Call, obj: Object) -> None:
        await _check(call, ask, obj, stored=True)

    async def scope(call: Call) -> Scope | None:
        fields = parse_fields(call.query.get("fieldSelector", ""), UI_SETTINGS_SELECTABLE, namespaced=False)
        named = fields.exact("spec.group") if fields is not None else None
        groups = [r.key[1] for r in call.store.collection(_GROUPS).select(None)] if named is None else [named]
        answers = await asyncio.gather(*(_may(call, ask, group) for group in groups))
        if named is not None and not answers[0]:
            raise _refusal(call, named, "")
        allowed = {g for g, may in zip(groups, answers, strict=True) if may}
        if groups and not allowed:
            raise _refusal(call, "*", "")
        private = {g for g in allowed if _by_user(_group(call, g))}

        def covers(record: Record) -> bool:
            group = record.fields.get("spec.group", "")
            if group not in allowed:
                return False
            return group not in private or record.fields.get("spec.user", "") in {"", call.user.name}

        return Scope(covers)

    return Hooks(
        prepare=prepared(UI_SETTINGS, mode=ServingMode.AGGREGATED), authorize=authorize, read=read, scope=scope
    )


UI_SETTINGS_SELECTABLE: dict[str, object] = dict.fromkeys(UI_SETTINGS.facts.selectable)

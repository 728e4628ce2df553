"""Whatever is accepted survives: storing and reading, structs, both schemas, the packed form, admission again.

For every kind and both serving modes, over objects generated from the kind's schema (generated_objects.py).
"""

import functools
import json
from typing import Any

import msgspec
import pytest
from generated_objects import objects, repaired
from hypothesis import HealthCheck, Phase, given, settings
from validation_cases import without_zeros

from tortie.apiserver.schema.node import Node, from_openapi
from tortie.apiserver.schema.prune import prune
from tortie.apiserver.schema.validate import validate
from tortie.model import catalog as c
from tortie.model.admission import ServingMode, admit
from tortie.model.definitions import definition
from tortie.model.packing import STORAGE_GROUP, pack, storage_resource, unpack
from tortie.model.resource import Resource
from tortie.model.schema import openapi_schema

Object = dict[str, Any]

EXAMPLES = 25
KINDS = [*c.CALICO, *c.UPSTREAM, *c.DERIVED, *c.REVIEWS]
IDENTITY = {"uid": "01020304-0506-4708-a90a-0b0c0d0e0f10", "resourceVersion": "7"}


@functools.cache
def node(resource: Resource[Any], group: str) -> Node:
    """The schema of a definition, as the API server compiles it."""
    version = definition(resource, group=group)["spec"]["versions"][0]
    return from_openapi(version["schema"]["openAPIV3Schema"], metadata=Node(type="object", preserve=True), top=True)


def fits(schema: Node, obj: Object) -> None:
    unknown: list[str] = []
    copy = json.loads(json.dumps(obj))
    assert prune(schema, copy, unknown) == obj
    assert unknown == []
    assert [cause for cause in validate(schema, obj, "") if "duplicate" not in str(cause).lower()] == []


def survives(resource: Resource[Any], stored: Object, mode: ServingMode) -> None:
    assert json.loads(json.dumps(stored)) == stored
    for old in (None, stored):
        again = admit(resource, stored, old, mode=mode)
        assert (again.object, again.errors, again.unknown_fields) == (stored, [], [])
    struct = msgspec.convert(stored, resource.type)
    written = json.loads(msgspec.json.encode(struct))
    assert msgspec.convert(written, resource.type) == struct
    assert without_zeros(written) == without_zeros(stored)
    rewritten = admit(resource, written, None, mode=mode)
    assert rewritten.errors == []
    assert without_zeros(rewritten.object) == without_zeros(stored)


@pytest.mark.parametrize("resource", KINDS, ids=lambda resource: resource.kind)
def test_what_is_accepted_survives_a_round_trip_unchanged(resource: Resource[Any]) -> None:
    accepted = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
    )
    @given(objects(resource))
    def each(obj: Object) -> None:
        nonlocal accepted
        for mode in ServingMode:
            stored = repaired(resource, obj, mode)
            if stored is None:
                continue
            accepted += 1
            survives(resource, stored, mode)
            if resource not in c.CALICO:
                continue
            if mode is ServingMode.NATIVE:
                fits(node(resource, resource.group), stored)
                unknown: list[str] = []
                plain = from_openapi(openapi_schema(resource), metadata=Node(type="object", preserve=True), top=True)
                assert prune(plain, json.loads(json.dumps(stored)), unknown) == stored
                assert unknown == []
            elif resource.group == c.CALICO_GROUP:
                known = {**stored, "metadata": {**stored["metadata"], **IDENTITY}}
                packed = pack(resource, known)
                unpacked = unpack(resource, json.loads(json.dumps(packed)))
                assert without_zeros(unpacked.pop("metadata")) == without_zeros(known.pop("metadata"))
                assert unpacked == known
                fits(node(resource, STORAGE_GROUP), packed)
                assert storage_resource(resource).kind == packed["kind"]

    each()
    assert accepted > EXAMPLES * 2 * 0.25, f"only {accepted} of {EXAMPLES * 2} objects were accepted"

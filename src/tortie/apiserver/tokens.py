"""Service account tokens: signed, bound to their account and pod, checked on every use.

In: TokenRequests, and bearer tokens from requests. Out: JWTs (ES256, the cluster's key), and the users they stand for.
A token dies with its account or pod: each use looks whether they are still there with the same uid.
"""

import base64
import hashlib
import uuid
from collections import OrderedDict
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tortie.apiserver import errors, objects
from tortie.apiserver.context import Context, User
from tortie.apiserver.oidc import Oidc

Object = dict[str, Any]
ISSUER = "https://kubernetes.default.svc.cluster.local"
MIN_SECONDS, DEFAULT_SECONDS, MAX_SECONDS = 600, 3600, 365 * 24 * 3600
_CLAIM = "kubernetes.io"
_CACHE = 4096
_LEAVING_SECONDS = 60.0  # what is being deleted may use its token so much longer than its grace period


class _Meta(msgspec.Struct):
    uid: str = ""
    deletionTimestamp: str | None = None  # noqa: N815 - the API's name


class _OnlyMeta(msgspec.Struct):
    metadata: _Meta


class Tokens:
    """Issues and checks tokens of one cluster; those of an OpenID provider go to `oidc`."""

    def __init__(self, context: Context, oidc: Oidc | None = None) -> None:
        self.context = context
        self.oidc = oidc
        key = serialization.load_pem_private_key((context.pki.folder / "sa.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{context.pki.folder / 'sa.key'} is no elliptic-curve key")  # noqa: TRY004 - a bad file
        self._key = key
        self._public = key.public_key()
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
        self._checked: OrderedDict[str, Object] = OrderedDict()

    def issue(
        self, account: Object, *, audiences: list[str], seconds: int, bound: Object | None = None, bound_kind: str = ""
    ) -> tuple[str, float]:
        """A token for a ServiceAccount and when it expires. `bound`: the Pod, Secret or Node it lives with."""
        now = self.context.now()
        meta = account["metadata"]
        claim: Object = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        if bound is not None:
            claim[bound_kind.lower()] = {"name": bound["metadata"]["name"], "uid": bound["metadata"]["uid"]}
            if bound_kind == "Pod":
                node = (bound.get("spec") or {}).get("nodeName")
                record = self.context.record("/nodes", "", node) if node else None
                if node:
                    uid = msgspec.json.decode(record.data, type=_OnlyMeta).metadata.uid if record else ""
                    claim["node"] = {"name": node, **({"uid": uid} if uid else {})}
        if seconds == 3607:  # what pods ask for: longer-lived, so that old clients survive, with a mark when to renew
            claim["warnafter"] = int(now) + 3607
            seconds = MAX_SECONDS
        expires = int(now) + seconds
        body = {
            "aud": audiences or [ISSUER],
            "exp": expires,
            "iat": int(now),
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            _CLAIM: claim,
            "nbf": int(now),
            "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
        }
        return jwt.encode(body, self._key, algorithm="ES256", headers={"kid": self.key_id}), float(expires)

    def legacy(self, account: Object, secret: Object) -> str:
        """A token for an old-style token Secret."""
        token, _ = self.issue(account, audiences=[], seconds=MAX_SECONDS, bound=secret, bound_kind="Secret")
        return token

    def _claims(self, token: str) -> Object:
        """The verified claims; kept, since checking a signature costs more than all the rest."""
        found = self._checked.get(token)
        now = self.context.now()
        if found is not None:
            self._checked.move_to_end(token)
        else:
            try:
                found = jwt.decode(
                    token,
                    self._public,
                    algorithms=["ES256"],
                    issuer=ISSUER,
                    options={"verify_aud": False, "verify_exp": False, "require": ["exp", "iss", "sub"]},
                )
            except jwt.PyJWTError:
                raise errors.unauthorized() from None
            self._checked[token] = found
            if len(self._checked) > _CACHE:
                self._checked.popitem(last=False)
        if found["exp"] < now:
            raise errors.unauthorized()
        return found

    def _alive(self, collection: str, namespace: str, reference: Object) -> bool:
        record = self.context.record(collection, namespace, str(reference.get("name", "")))
        if record is None:
            return False
        meta = msgspec.json.decode(record.data, type=_OnlyMeta).metadata
        if meta.uid != reference.get("uid"):
            return False
        ends = objects.parse_time(meta.deletionTimestamp) if meta.deletionTimestamp else None
        return ends is None or self.context.now() < ends + _LEAVING_SECONDS

    def check(self, token: str, audiences: list[str]) -> tuple[User, list[str]]:
        """The user of a token, and which of the wanted audiences it has. Raises StatusError 401."""
        claims = self._claims(token)
        have = claims.get("aud") or []
        have = [have] if isinstance(have, str) else have
        shared = [a for a in audiences or [ISSUER] if a in have]
        if not shared:
            raise errors.unauthorized()
        claim = claims.get(_CLAIM) or {}
        namespace, account = claim.get("namespace", ""), claim.get("serviceaccount") or {}
        if not self._alive("/serviceaccounts", namespace, account):
            raise errors.unauthorized()
        extra: dict[str, tuple[str, ...]] = {
            "authentication.kubernetes.io/credential-id": (f"JTI={claims.get('jti', '')}",)
        }
        for kind, collection in (("pod", "/pods"), ("secret", "/secrets"), ("node", "/nodes")):
            reference = claim.get(kind)
            if kind == "node" and "pod" in claim:
                continue  # where the pod runs; the token lives with the pod
            place = "" if kind == "node" else namespace
            if reference and reference.get("uid") and not self._alive(collection, place, reference):
                raise errors.unauthorized()
        for kind in ("pod", "node"):
            reference = claim.get(kind)
            if reference:
                for key in ("name", "uid"):
                    if reference.get(key):
                        extra[f"authentication.kubernetes.io/{kind}-{key}"] = (reference[key],)
        name = account.get("name", "")
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(f"system:serviceaccount:{namespace}:{name}", groups, account.get("uid", ""), extra), shared

    async def authenticate(self, token: str) -> User:
        """The user of a bearer token of a request, whoever made it. Raises StatusError 401."""
        return (await self.review(token, []))[0]

    async def review(self, token: str, audiences: list[str]) -> tuple[User, list[str]]:
        """The user of a bearer token, and which of the wanted audiences it is for. Raises StatusError 401.

        An OpenID provider's token is for its client; here it counts as one for the server itself.
        """
        if self.oidc is None or not self.oidc.concerns(token):
            return self.check(token, audiences)
        shared = [a for a in audiences or [ISSUER] if a == ISSUER]
        if not shared:
            raise errors.unauthorized()
        return await self.oidc.user(token), shared

    def openid_configuration(self) -> Object:
        """/.well-known/openid-configuration."""
        return {
            "issuer": ISSUER,
            "jwks_uri": f"https://{self._host()}:{self.context.port}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def _host(self) -> str:
        """The address under which others reach this server."""
        address = self.context.advertise[0]
        return f"[{address}]" if ":" in address else address

    def key_set(self) -> Object:
        """/openid/v1/jwks."""
        numbers = self._public.public_numbers()

        def encoded(number: int) -> str:
            return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()

        key = {
            "use": "sig",
            "kty": "EC",
            "kid": self.key_id,
            "crv": "P-256",
            "alg": "ES256",
            "x": encoded(numbers.x),
            "y": encoded(numbers.y),
        }
        return {"keys": [key]}

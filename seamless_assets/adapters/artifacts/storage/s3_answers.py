"""What an object store answered, read from the words of its client, and what there is to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_SERVER_TIME = re.compile(r"<ServerTime>\s*([\w:.+-]+)\s*</ServerTime>")
_REDIRECT = "redirect without LOCATION"
_THROTTLED_CODES = frozenset({"SlowDown", "ServiceUnavailable", "TooManyRequests", "RequestLimitExceeded"})
_PASSING_CODES = frozenset({"RequestTimeout", "OperationAborted", "ConditionalRequestConflict"})

_REGION = "the bucket is in another region: set region in seamless.artifact.s3"
_CREDENTIALS = "the credentials are not known to the bucket, or not allowed to do this"
_ADVICE = {
    "RequestTimeTooSkewed": "the clock of this machine is too far from the bucket's: set it by NTP",
    "NoSuchBucket": "there is no such bucket",
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "AccessDenied": _CREDENTIALS,
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "ExpiredToken": "the session token has run out: renew it",
    "NotImplemented": "it cannot do this; a bucket must honour If-None-Match on writes",
}
_STATUS_ADVICE = {301: _REGION, 307: _REGION, 403: _CREDENTIALS, 501: _ADVICE["NotImplemented"]}


@dataclass(frozen=True, slots=True)
class S3Answer:
    """An error as the bucket answered it: HTTP status and S3's own code, where the client passed them on."""

    status: int | None
    code: str | None
    server_time: str | None = None
    is_redirect: bool = False

    @property
    def is_throttling(self) -> bool:
        """Whether it asks for fewer requests, for a while."""
        return self.status in (429, 503) or self.code in _THROTTLED_CODES

    @property
    def is_final(self) -> bool:
        """Whether asking again cannot help."""
        if self.is_redirect:
            return True
        passes = self.is_throttling or self.code in _PASSING_CODES or self.status in (None, 408, 409)
        return (not passes and (self.status or 0) < 500) or self.status == 501

    @property
    def advice(self) -> str:
        """What there is to do about it; empty where it says nothing."""
        advice = _ADVICE.get(self.code or "") or (_REGION if self.is_redirect else "")
        advice = advice or _STATUS_ADVICE.get(self.status or 0, "")
        return f"{advice} (the bucket's clock says {self.server_time})" if self.server_time else advice


def answer_of(error: Exception) -> S3Answer:
    """The answer behind an error of the client."""
    text = str(error)
    status, code, time = _STATUS.search(text), _CODE.search(text), _SERVER_TIME.search(text)
    return S3Answer(
        status=int(status[1]) if status else None,
        code=code[1] if code else None,
        server_time=time[1] if time else None,
        is_redirect=_REDIRECT in text,
    )

"""The types of the sections' fields."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    SecretStr,
    Strict,
    model_validator,
)

from seamless_assets.config import addresses, checks, labels
from seamless_assets.config.addresses import Dsn
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId

WEEK_MS = 7 * 86_400_000


class Section(BaseModel):
    """A mapping of known keys. An empty one means its defaults, and so does a key without a value."""

    # What is part of `Settings` is built with it, once; each by itself would cost as much again at import.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, data: Any) -> Any:
        if data is None:
            return {}
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


def section() -> Any:
    """A section that need not be written."""
    return Field(default_factory=dict, validate_default=True)


def template(allowed: Iterable[str], required: Iterable[str]) -> AfterValidator:
    """A text that names every one of `required` and nothing beyond `allowed`."""
    return AfterValidator(partial(checks.placeholders, allowed=tuple(allowed), required=tuple(required)))


Truth = Annotated[bool, BeforeValidator(checks.truth), Strict()]
Whole = Annotated[int, BeforeValidator(checks.number), Strict()]
Number = Annotated[float, BeforeValidator(checks.number), Strict(), Field(allow_inf_nan=False)]
Tokens = Annotated[Whole, Field(gt=0, le=1_000_000_000)]
Milliseconds = Annotated[Whole, Field(gt=0, le=WEEK_MS)]
AlertMs = Annotated[Whole, Field(gt=0, lt=3_600_000)]
"""Milliseconds below the last bucket that waits are counted in: an alert beyond it would never fire."""
MillisecondsOrZero = Annotated[Whole, Field(ge=0, le=WEEK_MS)]
Pause = Annotated[Number, Field(ge=0, le=WEEK_MS)]
Days = Annotated[Number, Field(gt=0, le=36_500)]
Seconds = Annotated[Number, Field(gt=0, le=WEEK_MS / 1000)]
Pace = Annotated[Number, Field(gt=0, le=1_000_000), AfterValidator(checks.pace)]
Ratio = Annotated[Number, Field(ge=0, le=1)]
Port = Annotated[Whole, Field(gt=0, le=65_535)]
Text = Annotated[str, Field(min_length=1), AfterValidator(checks.text)]
HeaderSecret = Annotated[SecretStr, AfterValidator(checks.header)]
SigningSecret = Annotated[SecretStr, AfterValidator(checks.signing_secret)]
GroupName = Annotated[str, AfterValidator(labels.group)]
Owner = Annotated[str, AfterValidator(labels.owner)]
TagKey = Annotated[str, AfterValidator(labels.tag_key)]
TagValue = Annotated[str, AfterValidator(labels.tag_value)]
Folder = Annotated[Path, BeforeValidator(checks.folder)]
File = Annotated[Path, BeforeValidator(checks.file)]
Symbol = Annotated[str, AfterValidator(checks.symbol)]
Frame = Annotated[InstanceOf[Timeframe], BeforeValidator(checks.timeframe)]
FrameName = Annotated[str, AfterValidator(checks.timeframe_name)]
Start = Annotated[int, BeforeValidator(checks.start)]
Node = Annotated[InstanceOf[NodeId], BeforeValidator(checks.node)]
Joint = Annotated[int, BeforeValidator(checks.joint)]
HttpUrl = Annotated[InstanceOf[Dsn], BeforeValidator(addresses.http_url)]
EndpointUrl = Annotated[InstanceOf[Dsn], BeforeValidator(addresses.endpoint_url)]
RedisUrl = Annotated[InstanceOf[Dsn], BeforeValidator(addresses.redis_url)]
LeaseUrl = Annotated[InstanceOf[Dsn], BeforeValidator(addresses.lease_url)]
ProxyUrl = Annotated[InstanceOf[Dsn], BeforeValidator(addresses.proxy_url)]
HotStore = Annotated[InstanceOf[Dsn], BeforeValidator(checks.hot_store)]
ObjectStore = Annotated[str, BeforeValidator(checks.object_store)]

"""Which columns of a file are meant: by our names, by those that others use, or as the caller says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.errors import ImportRefused, InvalidInput

_TIMES = ("ts", "open_time", "opentime", "timestamp", "unix", "time", "date", "datetime", "transact_time")


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that rows of one kind have.

    `names` are the names used for each of ours, in lower case with `_` for spaces, the likeliest first;
    `positions` are the columns of lines without a header, by the number of their columns (0: any other),
    and `places` those of lists in JSON.
    """

    kind: str
    names: Mapping[str, Sequence[str]]
    positions: Mapping[int, Sequence[str]]
    places: Sequence[str]
    optional: frozenset[str] = frozenset()

    def by_position(self, width: int) -> Sequence[str]:
        """The names of the first columns of lines without a header."""
        return self.positions.get(width, self.positions[0])


CANDLES = Layout(
    "candles",
    {
        "ts": _TIMES,
        **{name: (name, name[0]) for name in COLUMNS[1:5]},
        "volume": ("volume", "vol", "v", "base_volume"),
    },
    {0: COLUMNS},
    COLUMNS,
)
_FREQTRADE_TRADES = ("ts", "id", "type", "side", "price", "amount", "cost")
_BINANCE_TRADES = ("id", "price", "amount", "quote_amount", "ts")
_BINANCE_AGGREGATES = ("id", "price", "amount", "first_id", "last_id", "ts")
TRADES = Layout(
    "trades",
    {
        "ts": _TIMES,
        "price": ("price", "p"),
        "amount": ("amount", "qty", "quantity", "size", "volume", "q"),
        "id": ("id", "trade_id", "agg_trade_id", "tid"),
    },
    {
        0: ("ts", "price", "amount"),
        6: _BINANCE_TRADES,
        7: _BINANCE_TRADES,
        8: _BINANCE_AGGREGATES,
    },
    _FREQTRADE_TRADES,
    frozenset({"id"}),
)


def chosen(layout: Layout, names: Sequence[str], rename: Mapping[Any, str], where: str) -> dict[str, str]:
    """Which of a file's columns each of ours is: what `rename` says, then the name that fits best.

    Raises `ImportRefused` where one of ours is not there, `InvalidInput` where `rename` names what is not.
    """
    if not isinstance(rename, Mapping):
        raise InvalidInput(f'rename is {rename!r}; give names such as {{"Open time": "ts"}}', value=rename)
    unknown = [old for old in rename if str(old) not in names]
    if unknown:
        raise InvalidInput(
            f"rename names {', '.join(map(repr, unknown))}, which {where} has not; it has {', '.join(names)}",
            value=unknown,
        )
    if strange := [new for new in rename.values() if new not in layout.names]:
        raise InvalidInput(
            f"rename gives the name {strange[0]!r}; of {layout.kind} there are {', '.join(layout.names)}",
            value=strange,
        )
    ours = {new: str(old) for old, new in rename.items()}
    if len(ours) < len(rename):
        raise InvalidInput("rename gives one name to two columns", value=dict(rename))
    left: dict[str, list[str]] = {}
    for name in names:
        if name not in ours.values():
            left.setdefault(_plain(name), []).append(name)
    for name, known in layout.names.items():
        found = next((left[other] for other in known if other in left), None)
        if name not in ours and found is not None:
            _refuse_alike(name, found, where)
            ours[name] = found[0]
    if lacking := [name for name in layout.names if name not in ours and name not in layout.optional]:
        raise ImportRefused(
            f"{where} has no column for {', '.join(lacking)} of {layout.kind}; it has {', '.join(names)}. "
            'Say which is which by rename, such as {"Open time": "ts"}',
            path=where,
            columns=tuple(names),
        )
    return ours


def _refuse_alike(name: str, found: Sequence[str], where: str) -> None:
    if len(found) > 1:
        raise ImportRefused(
            f"{where} has {len(found)} columns for {name}: {', '.join(map(repr, found))}; say by rename "
            "which it is",
            path=where,
            columns=tuple(found),
        )


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")

# %% [markdown]
# # Research on a panel
# Closes of several symbols as of one moment of their release logs: what is released while they are read is in
# all of them or in none, and the same `as_of` gives the same panel for ever.

# %%
import pandas as pd

import seamless_assets as sa

START, END = "2025-01-01", "2025-01-04"

# %% [markdown]
# ## Read
# All series of one timeframe side by side, in one call.

# %%
with sa.connect("seamless.yaml") as s:
    nodes = [str(item.node) for item in s.settings.nodes if str(item.node.timeframe) == "1m"]
    panel = s.read_panel(nodes, START, END, fields=["close", "volume"])

frame = panel.to_pandas()
closes = frame["close"]
print(f"{closes.shape[0]} minutes of {', '.join(closes)}, as of {panel.metadata.as_of}")
print(panel.metadata.coverage)

# %% [markdown]
# ## What is not there
# A bar that nobody traded is NaN, never a made-up price. Its reason stands in the metadata of its series.

# %%
for series in panel.metadata.series.values():
    for start, end, reason in series.gaps[:3]:
        print(series.node_id, pd.to_datetime(start, unit="s"), (end - start) // 60, "bars:", reason)

# %% [markdown]
# ## Look
# Returns by the hour, how they move together, and how loud each symbol is.

# %%
hourly = closes.ffill().resample("1h").last().pct_change().dropna()
print(hourly.corr().round(2))
print((hourly.std() * 24**0.5).round(4))

# %% [markdown]
# ## A strategy over all symbols
# Hold what rose most in the last hours, in equal parts, decided on one close and held from the next.

# %%
momentum = hourly.rolling(6).sum().shift().dropna()
chosen = momentum.rank(axis=1, ascending=False) <= max(1, len(momentum.columns) // 2)
earned = hourly.loc[momentum.index].where(chosen).mean(axis=1)
print(f"{(1 + earned).prod() - 1:+.3%} in {len(earned)} hours")

# %% [markdown]
# ## Keep the proof
# Whoever has these lines can read the same panel again, and sees that it is the same.

# %%
with sa.connect("seamless.yaml") as s:
    known = sa.ComputeContext(as_of=panel.metadata.as_of)
    again = s.read_panel(nodes, START, END, fields=["close", "volume"], context=known)
assert again.to_pandas().equals(frame)
for series in panel.metadata.series.values():
    print(series.node_id, series.as_of, series.dataset_fingerprint)

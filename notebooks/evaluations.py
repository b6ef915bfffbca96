# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Evaluations side by side
#
# Success by stratum and time to success of one or several evaluations. Open as a notebook with
# `jupytext --to notebook notebooks/evaluations.py`, or run it as it is.

# %%
import os

import matplotlib.pyplot as plt
import pandas as pd

from hiltk.artifacts.store import resolve
from hiltk.evaluation.tables import TOTAL, summarise

# Any references: names (below HILTK_ROOT, else outputs/), name@e-0001, paths.
EVALUATIONS = os.environ.get("HILTK_EVALUATIONS", "quickstart-bc_check-s0 quickstart-hil_check-s0").split()

# %%
found = [resolve(reference, "evaluations") for reference in EVALUATIONS]
episodes = pd.concat([pd.read_csv(e.path / "episodes.csv") for e in found], ignore_index=True)
summary = summarise(episodes)
summary.round(3)

# %% [markdown]
# ## Success of each policy by stratum, with 95 % Wilson intervals over its own episodes

# %%
rates = summary.pivot(index="stratum", columns="policy", values="rate")
rates = rates.loc[[*dict.fromkeys(episodes.stratum), TOTAL]]
low, high = (summary.pivot(index="stratum", columns="policy", values=k).loc[rates.index] for k in ("low", "high"))
axis = rates.plot.bar(
    yerr=[[rates[p] - low[p], high[p] - rates[p]] for p in rates.columns], capsize=3, ylim=(0, 1.02), rot=0
)
axis.set_ylabel("success rate")
plt.show()

# %% [markdown]
# ## Steps to success

# %%
succeeded = episodes[episodes.success]
if len(succeeded):
    succeeded.boxplot(column="steps", by=["policy", "stratum"], rot=45, figsize=(9, 4))
    plt.suptitle("")
    plt.show()
else:
    print("no episode succeeded")

"""Colours that mean the same in every figure (Okabe and Ito's palette, which the colour-blind can tell apart)."""

FAILURE = "#d9dde0"
SUCCESS, ALONE, INTERVENTION = "#0072B2", "#009E73", "#D55E00"

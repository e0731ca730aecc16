"""Arrays in, plotly figures out; beside every figure a function that says in words what it shows.

Figures carry their own small layout instead of plotly's template (7 kB each), and arrays travel as binary. They
are drawn in light colours; `DARK` says what each of these becomes on a dark page, so that the component which shows
a figure can swap them without asking again. Colours of runs are the caller's.
"""

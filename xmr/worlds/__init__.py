"""Worlds: scenes and clips from seeds, captions from scenes, truth from scenes and logical forms, pictures from scenes.

`blocks` are ray-traced table tops, `moving_blocks` clips of what happens on them. NumPy only. The truth of every caption is
known for every picture; `xmr.data.generated` makes datasets of them.
"""

"""What `train.py` measures: each library in a process and an environment of its own, all on the same windows.

`ours.py` and `with_*.py` are programs that answer tasks (`answering.py`); `asking.py` is the side that asks.
"""

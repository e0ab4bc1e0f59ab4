"""What `accuracy.py` measures: M4 by the competition's measures, the long-horizon sets, and peers in equal time."""

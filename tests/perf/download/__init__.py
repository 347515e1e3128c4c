"""The download's benchmark: against curl, aria2c and the plain client, on links of several kinds.

`make bench-download` prints the table, writes `figures.json` beside `thresholds.json`, and fails where one is missed.
"""

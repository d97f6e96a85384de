"""Who may get which traffic, decided purely: the table, effective weights, how tasks leave it.

`table` is the only writer of TrafficEntry, `drain` the only writer of `TaskDesired.leaving`. Each
reads what the other wrote; the order of the two is what loses no request.
"""

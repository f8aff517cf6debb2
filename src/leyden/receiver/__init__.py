"""The receiver: takes associations on the inherited listening sockets and puts data sets into the spool.

A data set goes from the socket's buffer to its embryo file as it comes. Success (or 0xB007, where it is kept although
context, command and data set contradict one another) is answered after the group commit and nowhere else. Deliberately
absent: any look into a data set beyond its first bytes, any decision where it goes.
"""

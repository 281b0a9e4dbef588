"""
Several processes on one port.

A parent binds the port and keeps the others alive.  The workers speak HTTP and
read the storage.  One more process writes it, for all of them: writers of LMDB wait
for each other, and what each of them commits is the smaller the more they are.
"""

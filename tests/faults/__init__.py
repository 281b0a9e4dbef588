"""
Faults that are really made, on real daemons; run by ``script/test --faults``.

The modules are named ``fault_*``, so that a run of all tests does not find them:
they mount file systems, trace processes and take minutes.
"""

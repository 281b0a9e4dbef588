"""
Databases and clusters that the tests start; run by ``script/test --cluster``.

The test modules are named ``cluster_*``, so that a run of all tests does not find
them: they start several servers each and kill them.

``_guard``      ends a program and all its descendants with the test process
``_programs``   programs that are needed, found or missing, and started
``_server``     PostgreSQL servers and their standbys
``_pgbouncer``  a pool of connections between nodes and a server
``_patroni``    three servers of which Patroni makes one the primary
``_haproxy``    HAProxy in front of nodes
``_relay``      a TCP relay that can stall or cut connections
``_case``       starts nodes, which are daemons on one database
``_racing``     clients that race for the same images, and what they were answered
``_readiness``  polls the readiness of nodes
"""

"""
Listening and sending, and limits that clients share.

``listener``        listens on an endpoint, and stops
``endpoints``       endpoints on sockets that are opened here, or inherited
``sockets``         opens the listening sockets of an endpoint
``description``     reads endpoint descriptions
``tls``             private keys and certificates, which may be renewed
``openssl``         leaves out OpenSSL where no endpoint needs it
``database_url``    checks the URL of a database, and hides its password
``storage_socket``  Unix sockets in a storage directory
``output``          sends at once where nothing is queued
``body_limits``     how large the bodies of requests may be
``client_key``      which addresses count as one client
``fair_limit``      a limit that all clients share
``rate_limit``      a limit on how often each client may do something
"""

"""Listening and sending: endpoints, TLS, Unix sockets, and limits shared by clients."""

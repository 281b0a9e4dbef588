"""The engine that keeps images in a PostgreSQL database, which several nodes share."""

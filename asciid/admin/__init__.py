"""Work on a storage: commands, how they reach its owner, and what the owner does."""

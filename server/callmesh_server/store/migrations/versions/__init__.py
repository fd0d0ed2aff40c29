"""One module a revision, each leading from the one before to itself."""

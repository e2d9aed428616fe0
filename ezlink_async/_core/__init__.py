"""Values and decisions: everything the client knows that needs no waiting."""

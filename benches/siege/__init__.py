"""The siege: attacks A1 to A12 against the running server, and what is left of its good tenants meanwhile."""

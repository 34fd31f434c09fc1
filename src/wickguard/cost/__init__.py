"""Cost: features in, price out. A price is never free and what can't be estimated costs its maximum."""

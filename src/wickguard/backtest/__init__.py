"""Backtest: what another policy would have done with the requests of an audit log."""

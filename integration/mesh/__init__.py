"""Traffic through a mesh: registries with real servers behind them, and clients that istiod configures."""
